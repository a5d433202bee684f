"""How many calls one person may have open in this process, with whatever they have many of.

`concurrency_limit` counts for each browser's person and for each app's grant. A person may allow
many apps, and each of them would have all that. So what one person has open is counted as well,
across sessions, grants and addresses: at each upstream, and at all of them together. An event
stream counts for as long as it is open. A call beyond that waits, the person's apps in rotation,
and so many may wait. Nobody else waits for them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from django.conf import settings

from gateway_site.edge import descriptors
from gateway_site.edge.reports import Tally
from gateway_site.rules.problems import Problem, unavailable
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import upstream_client
from gateway_site.transport.connections import Owner
from gateway_site.transport.places import Busy, Places, give_back, take_at_once, take_within

logger = logging.getLogger(__name__)

CLIENTS = 2  # so many clients' worth of calls (`MAX_CONCURRENT`) may one person have at an upstream
IN_ALL = 256
# Whatever is configured, others have half of the connections of a process with few descriptors. As
# many calls may wait as one address may have connections (`server.connections`).
SHARE_OPEN, SHARE_WAITING = 2, 4
BUSY = "Too many of your calls are open. An event stream counts for as long as it is open."

_refused = Tally(logger, "%d calls found no place among those of their person.")


@dataclass(frozen=True)
class Limits:
    """What one person may have: open at one upstream, open at all of them, and waiting."""

    per_upstream: int
    in_all: int
    waiting: int

    def at(self, upstream: Upstream) -> int:
        """Return how many calls may be open at an upstream."""
        return min(CLIENTS * upstream.max_concurrent, self.per_upstream)


def limits_for(upstreams: Iterable[Upstream]) -> Limits:
    """Return the limits of a process: 256 calls in all, or what one upstream allows if more."""
    pool = upstream_client.limits()
    most = max((CLIENTS * each.max_concurrent for each in upstreams), default=0)
    return Limits(
        per_upstream=pool.per_upstream // SHARE_OPEN,
        in_all=min(max(IN_ALL, most), pool.in_all // SHARE_OPEN),
        waiting=descriptors.each_way(descriptors.allowed()) // SHARE_WAITING,
    )


@dataclass(eq=False)
class _Person:
    """The calls of one person, those that wait among `number`."""

    in_all: Places
    at: dict[str, Places] = field(default_factory=dict)
    number: int = 0
    waiting: int = 0


class PersonCalls:
    """The calls of all people, in one event loop; who has none is forgotten."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._people: dict[str, _Person] = {}

    def place(self, owner: Owner, upstream: Upstream) -> Place:
        """Return a place among the person's calls of an upstream, to hold within a block."""
        return Place(self, owner, upstream)

    def __len__(self) -> int:
        return len(self._people)

    async def enter(self, owner: Owner, upstream: Upstream) -> tuple[Places, Places]:
        """Take a place at an upstream and one in all. Raises Problem where that takes too long."""
        person = self._people.get(owner.person)
        if person is None:
            person = self._people[owner.person] = _Person(Places(self._limits.in_all))
        person.number += 1
        try:
            if upstream.name not in person.at:
                person.at[upstream.name] = Places(self._limits.at(upstream))
            places = person.at[upstream.name], person.in_all
            if not take_at_once(*places):
                await self._wait(person, owner, upstream, places)
        except BaseException:
            self._forget(owner, person)
            raise
        return places

    def leave(self, owner: Owner, places: tuple[Places, Places]) -> None:
        """Give both back."""
        give_back(*places)
        self._forget(owner, self._people[owner.person])

    async def _wait(
        self, person: _Person, owner: Owner, upstream: Upstream, places: tuple[Places, Places]
    ) -> None:
        if person.waiting >= self._limits.waiting:
            raise _busy()
        person.waiting += 1
        try:
            await take_within(upstream.connect_timeout, (owner.holder,), *places)
        except Busy:
            raise _busy() from None
        finally:
            person.waiting -= 1

    def _forget(self, owner: Owner, person: _Person) -> None:
        person.number -= 1
        if not person.number:
            del self._people[owner.person]


class Place:
    """A call's place, held within a block."""

    __slots__ = ("_all", "_owner", "_places", "_upstream")

    def __init__(self, calls: PersonCalls, owner: Owner, upstream: Upstream) -> None:
        self._all = calls
        self._owner = owner
        self._upstream = upstream

    async def __aenter__(self) -> None:
        self._places = await self._all.enter(self._owner, self._upstream)

    async def __aexit__(self, *_: object) -> None:
        self._all.leave(self._owner, self._places)


def _busy() -> Problem:
    _refused.add()
    return unavailable("busy", BUSY)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, PersonCalls] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_of_loops.clear)  # their loops are the parent's


def person_calls() -> PersonCalls:
    """Return the calls of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = PersonCalls(limits_for(settings.UPSTREAMS.values()))
    return found
