"""A pool of connections to upstreams, each with an owner: limits their number, and reuses them.

It does not depend on HTTP and does not connect: the function that connects is an argument, and the
connection says whether its last exchange ended cleanly. Everything runs in one event loop.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from gateway_site.transport.places import Places, give_back, take_at_once, take_within


class Connection(Protocol):
    """A connection as the pool sees it."""

    @property
    def is_clean(self) -> bool:
        """Whether it is idle, all exchanges ended cleanly, and no unsolicited data came."""

    def close(self) -> None:
        """Close immediately; repeated calls do nothing."""


C = TypeVar("C", bound=Connection)
CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Owner(NamedTuple):
    """The owner of a connection. Only equal owners can use the same connection.

    `holder` is the id of the session or grant on which the right to call depends (of a session the
    digest under which it is stored, since its key must not be kept). Owners are sessions rather
    than persons: a second browser needs its own handshake, but no list of a person's sessions is
    needed. `person` is included in case a holder is ever passed to another person.
    """

    holder: str
    person: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The maximum of connections, in use and idle together, and of idle ones."""

    in_all: int = 4096
    per_upstream: int = 2048
    idle: int = 256
    idle_per_person: int = 64
    idle_expiry: float = 4.0  # seconds; shorter than the 5 of uvicorn and Node


@dataclass(eq=False)
class Lease(Generic[C]):
    """A connection in use, or idle until the next call of its owner."""

    upstream: Hashable
    owner: Owner
    connection: C
    expires: float = 0.0
    has_ended: bool = False  # the owner's right to call; the connection is then closed after use


class ConnectionPool(Generic[C]):
    """The connections of one event loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float], call_later: CallLater) -> None:
        """Take the limits, and the loop's clock and timer."""
        self._limits = limits
        self._clock = clock
        self._call_later = call_later
        self._timer: asyncio.TimerHandle | None = None
        self._in_all = Places(limits.in_all)
        self._per_upstream: defaultdict[Hashable, Places] = defaultdict(
            lambda: Places(limits.per_upstream)
        )
        self._in_use: set[Lease[C]] = set()
        self._idle: dict[Lease[C], None] = {}  # the longest idle one first
        self._idle_of: defaultdict[tuple[Hashable, Owner], list[Lease[C]]] = defaultdict(list)
        self._idle_of_person: Counter[str] = Counter()
        self._taken: Counter[Hashable] = Counter()

    async def take(
        self,
        upstream: Hashable,
        owner: Owner,
        connect: Callable[[], Awaitable[C]],
        *,
        seconds: float,
        anew: bool = False,
    ) -> Lease[C]:
        """Return a connection of this owner: a clean idle one unless `anew`, otherwise a new one.

        Waits up to `seconds` if all are in use, first for a place of the upstream, so that a busy
        one does not delay others. Raises Busy, and the errors of `connect`.
        """
        places = self._per_upstream[upstream], self._in_all
        if not take_at_once(*places):
            await take_within(seconds, (owner.person, owner.holder), *places)
        self._taken[upstream] += 1
        try:
            lease = None if anew else self._pop_idle(upstream, owner)
            if lease is None:
                self._make_room(upstream)
                lease = Lease(upstream, owner, await connect())
        except BaseException:
            self._leave(upstream)
            raise
        self._in_use.add(lease)
        return lease

    def take_idle(self, upstream: Hashable, owner: Owner) -> Lease[C] | None:
        """Take a clean idle connection of this owner; None if there is none, or no free place."""
        if not take_at_once(self._per_upstream[upstream], self._in_all):
            return None
        self._taken[upstream] += 1
        lease = self._pop_idle(upstream, owner)
        if lease is None:
            self._leave(upstream)
        else:
            self._in_use.add(lease)
        return lease

    def give_back(self, lease: Lease[C]) -> None:
        """Return a connection to its owner's idle ones, or close it unless it is clean."""
        if lease not in self._in_use:
            return
        self._in_use.discard(lease)
        self._leave(lease.upstream)
        if lease.has_ended or not lease.connection.is_clean:
            lease.connection.close()
            return
        lease.expires = self._clock() + self._limits.idle_expiry
        self._idle[lease] = None
        self._idle_of[lease.upstream, lease.owner].append(lease)
        self._idle_of_person[lease.owner.person] += 1
        self._close_too_many_idle(lease.owner.person)
        if self._timer is None:
            self._watch_expiry()

    def end(self, holder: str) -> None:
        """Close the idle connections of holders with this prefix; those in use are closed later."""
        for lease in [each for each in self._idle if each.owner.holder.startswith(holder)]:
            self._close(lease)
        for lease in self._in_use:
            lease.has_ended = lease.has_ended or lease.owner.holder.startswith(holder)

    def close(self) -> None:
        """Close all connections, including those in use."""
        if self._timer is not None:
            self._timer.cancel()
        self._close_first(len(self._idle), self._idle)
        for lease in self._in_use:
            lease.has_ended = True
            lease.connection.close()

    def __len__(self) -> int:
        """Return the number of connections, without those that are being made."""
        return len(self._idle) + len(self._in_use)

    def _leave(self, upstream: Hashable) -> None:
        self._taken[upstream] -= 1
        give_back(self._per_upstream[upstream], self._in_all)

    def _pop_idle(self, upstream: Hashable, owner: Owner) -> Lease[C] | None:
        """Return the owner's connection that was used last, if it can be used again."""
        while mine := self._idle_of.get((upstream, owner)):
            lease = mine[-1]
            self._forget(lease)
            if lease.expires > self._clock() and lease.connection.is_clean:
                return lease
            lease.connection.close()
        return None

    def _make_room(self, upstream: Hashable) -> None:
        """Close idle connections if a new one would exceed the limits."""
        there = [lease for lease in self._idle if lease.upstream == upstream]
        self._close_first(len(there) + self._taken[upstream] - self._limits.per_upstream, there)
        taken = self._taken.total()
        self._close_first(len(self._idle) + taken - self._limits.in_all, self._idle)

    def _close_too_many_idle(self, person: str) -> None:
        """Close idle connections over the limits, first those of this person."""
        over = self._idle_of_person[person] - self._limits.idle_per_person
        if over > 0:
            theirs = (lease for lease in self._idle if lease.owner.person == person)
            self._close_first(over, theirs)
        self._close_first(len(self._idle) - self._limits.idle, self._idle)

    def _close_first(self, count: int, leases: Iterable[Lease[C]]) -> None:
        for lease in list(islice(leases, max(count, 0))):
            self._close(lease)

    def _close(self, lease: Lease[C]) -> None:
        self._forget(lease)
        lease.connection.close()

    def _forget(self, lease: Lease[C]) -> None:
        key = lease.upstream, lease.owner
        del self._idle[lease]
        self._idle_of[key].remove(lease)
        if not self._idle_of[key]:
            del self._idle_of[key]
        self._idle_of_person[lease.owner.person] -= 1
        if not self._idle_of_person[lease.owner.person]:
            del self._idle_of_person[lease.owner.person]

    def _watch_expiry(self) -> None:
        if self._idle:
            first = next(iter(self._idle))
            self._timer = self._call_later(first.expires - self._clock(), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock()
        self._close_first(sum(lease.expires <= now for lease in self._idle), self._idle)
        self._watch_expiry()
