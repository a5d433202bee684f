"""How many calls may be open at the same time in this process, per caller and per person; rates.

`CallerSlots` counts for each browser's person and for each app's grant; one call too many is a 429.
A person may allow many apps, so `UserCalls` counts all of a person's calls too, across sessions,
grants and addresses: at each upstream, and in total. An event stream counts for as long as it is
open. A call beyond these limits waits, the person's apps in rotation; a limited number may wait.
Nobody else waits for them. `limit_rate` applies `UPSTREAM_<NAME>_RATE`.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from django.conf import settings

from gateway_site.edge import descriptors
from gateway_site.edge.reports import Tally
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.mcp.errors import RPCProblem
from gateway_site.mcp.messages import Message
from gateway_site.policy.client_names import name_client
from gateway_site.policy.rates import Exceeded, RateCounter, RatedCaller
from gateway_site.policy.spellings import spelled_plainly
from gateway_site.rules.problems import Problem, unavailable
from gateway_site.rules.rate import Rate
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import upstream_client
from gateway_site.transport.places import Busy, Places, give_back, take_at_once, take_within
from gateway_site.transport.pool import Owner

logger = logging.getLogger(__name__)

# At one upstream a person may have as many calls open as so many clients (`MAX_CONCURRENT`).
CLIENTS_PER_USER = 2
USER_CALLS_MAX = 256
# Whatever is configured, half of the connections of a process are left for others. As many calls
# may wait as one address may have connections (`server.connections`).
SHARE_OPEN, SHARE_WAITING = 2, 4
BUSY = "Too many of your calls are open. An event stream counts for as long as it is open."
RATE_EXCEEDED, RATE_EXCEEDED_RPC = "rate_exceeded", -32014

_rejected = Tally(logger, "%d calls were answered 503: their person had too many open.")
rate_counter = RateCounter()


class Slot:
    """One open call of a key, held within a block."""

    def __init__(self, counted: dict[object, int], key: object) -> None:
        self._open = counted
        self._key = key

    def __enter__(self) -> None:
        self._open[self._key] = self._open.get(self._key, 0) + 1

    def __exit__(self, *_: object) -> None:
        if left := self._open[self._key] - 1:
            self._open[self._key] = left
        else:
            del self._open[self._key]


class CallerSlots:
    """Counts open calls per key; a key without open calls is forgotten."""

    def __init__(self) -> None:
        self._open: dict[object, int] = {}

    def take(self, key: object, limit: int) -> Slot:
        """Return a slot to hold within a block. Raises Problem if all are taken."""
        if self._open.get(key, 0) >= limit:
            raise Problem(
                429,
                "too_many_calls",
                "Too many of your calls are open.",
                headers={"Retry-After": "1"},
            )
        return Slot(self._open, key)

    def __len__(self) -> int:
        return len(self._open)


@dataclass(frozen=True)
class UserLimits:
    """How many calls of a person may be open at one upstream, open in total, and waiting."""

    per_upstream: int
    in_all: int
    waiting: int

    def at(self, upstream: Upstream) -> int:
        """Return how many calls may be open at an upstream."""
        return min(CLIENTS_PER_USER * upstream.max_concurrent, self.per_upstream)


def user_limits(upstreams: Iterable[Upstream]) -> UserLimits:
    """Return the limits of a process: 256 calls in total, or what one upstream allows if more."""
    pool = upstream_client.limits()
    most = max((CLIENTS_PER_USER * each.max_concurrent for each in upstreams), default=0)
    return UserLimits(
        per_upstream=pool.per_upstream // SHARE_OPEN,
        in_all=min(max(USER_CALLS_MAX, most), pool.in_all // SHARE_OPEN),
        waiting=descriptors.max_connections(descriptors.descriptor_limit()) // SHARE_WAITING,
    )


@dataclass(eq=False)
class _UserCalls:
    """The calls of one person; `number` includes the waiting ones."""

    in_all: Places
    at: dict[str, Places] = field(default_factory=dict)
    number: int = 0
    waiting: int = 0


class UserCalls:
    """All people's calls in one event loop. People without calls are forgotten."""

    def __init__(self, limits: UserLimits) -> None:
        self._limits = limits
        self._users: dict[str, _UserCalls] = {}

    def place(self, owner: Owner, upstream: Upstream) -> "UserPlace":
        """Return a place among the person's calls of an upstream, to hold within a block."""
        return UserPlace(self, owner, upstream)

    def __len__(self) -> int:
        return len(self._users)

    async def acquire(self, owner: Owner, upstream: Upstream) -> tuple[Places, Places]:
        """Take a place at the upstream and one in total. Raises Problem if that takes too long."""
        person = self._users.get(owner.person)
        if person is None:
            person = self._users[owner.person] = _UserCalls(Places(self._limits.in_all))
        person.number += 1
        try:
            if upstream.name not in person.at:
                person.at[upstream.name] = Places(self._limits.at(upstream))
            places = person.at[upstream.name], person.in_all
            if not take_at_once(*places):
                await self._wait(person, owner, upstream, places)
        except BaseException:
            self._remove(owner, person)
            raise
        return places

    def release(self, owner: Owner, places: tuple[Places, Places]) -> None:
        """Give both places back."""
        give_back(*places)
        self._remove(owner, self._users[owner.person])

    async def _wait(
        self, person: _UserCalls, owner: Owner, upstream: Upstream, places: tuple[Places, Places]
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

    def _remove(self, owner: Owner, person: _UserCalls) -> None:
        person.number -= 1
        if not person.number:
            del self._users[owner.person]


class UserPlace:
    """A call's place, held within a block."""

    __slots__ = ("_all", "_owner", "_places", "_upstream")

    def __init__(self, calls: UserCalls, owner: Owner, upstream: Upstream) -> None:
        self._all = calls
        self._owner = owner
        self._upstream = upstream

    async def __aenter__(self) -> None:
        self._places = await self._all.acquire(self._owner, self._upstream)

    async def __aexit__(self, *_: object) -> None:
        self._all.release(self._owner, self._places)


def _busy() -> Problem:
    _rejected.add()
    return unavailable("busy", BUSY)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, UserCalls] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_of_loops.clear)  # their loops are the parent's


def user_calls() -> UserCalls:
    """Return the calls of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = UserCalls(user_limits(settings.UPSTREAMS.values()))
    return found


def limit_rate(call: UpstreamCall, message: Message | None, *, is_unread: bool = False) -> None:
    """Count a call, with its message if that was read. Raises Problem if it exceeds a rate.

    A call whose message will be read later counts for the general rates only. Clients that
    registered themselves count as one, since each registration would give another rate.
    """
    tool = None if message is None else _tool_of(message)
    if exceeded := _count(call, call.upstream.rates, tool):
        raise _too_many(exceeded, message, is_mcp=is_unread or message is not None)


def limit_tool_rate(call: UpstreamCall, message: Message | None) -> None:
    """Count a call that the general rates have counted for those of its tool. Raises Problem."""
    tool = None if message is None else _tool_of(message)
    rates = [each for each in call.upstream.rates if each.tools is not None]
    if exceeded := _count(call, rates, tool):
        raise _too_many(exceeded, message, is_mcp=True)


def _count(call: UpstreamCall, rates: Sequence[Rate], tool: str | None) -> Exceeded | None:
    if not rates:
        return None
    caller = RatedCaller(call.upstream.name, call.owner.person, _client_of(call))
    return rate_counter.take(caller, rates, tool)


def _too_many(exceeded: Exceeded, message: Message | None, *, is_mcp: bool) -> Problem:
    headers = dict(exceeded.headers)
    detail = f"Too many calls. Try again in {headers['Retry-After']} seconds."
    if not is_mcp:
        return Problem(429, RATE_EXCEEDED, detail, headers=headers)
    return RPCProblem(
        429,
        RATE_EXCEEDED,
        detail,
        rpc_code=RATE_EXCEEDED_RPC,
        request_id=message.id if message is not None and message.is_request else None,
        headers=headers,
    )


def _tool_of(message: Message) -> str | None:
    """Return the tool that is called, also in a spelling that some servers may accept."""
    if spelled_plainly(message.method or "") != "tools/call":
        return None
    name = message.params.get("name")
    return name if isinstance(name, str) else None


def _client_of(call: UpstreamCall) -> str:
    """Return the name of the client that calls; "" if a browser does."""
    grant, server = call.caller.grant, settings.AUTHORIZATION_SERVER
    return "" if grant is None or server is None else name_client(grant.labels, server)
