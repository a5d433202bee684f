"""The connections of one process: how many there may be, and which is closed if there are too many.

File descriptors are scarce: without one, DynamoDB and KMS cannot be called, and health checks are
not answered. So each client's connection is counted, with a second descriptor for the upstream that
it may call. At the limit, the connection that has been idle longest is closed; at the limit of one
peer, that peer's longest idle connection. If none is idle, a new connection can only request
health checks.
"""

import asyncio
import logging
from collections import Counter, OrderedDict, defaultdict
from typing import Protocol
from weakref import WeakKeyDictionary

from django.conf import settings
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway_site.edge import trusted_proxies
from gateway_site.edge.client import BODIES_SIZE, ReceivedBodies
from gateway_site.edge.descriptors import SPARE, descriptor_limit, is_limit_low, max_connections
from gateway_site.edge.reports import Tally

logger = logging.getLogger(__name__)

SHARE = 4  # one peer may have a quarter of the connections
SWEEP = 1.0  # seconds between two checks of all timeouts


class Connection(Protocol):
    """The interface of a connection."""

    @property
    def peer(self) -> str | None:
        """The client's counting key; None if the peer is a proxy."""

    def close_now(self) -> None:
        """Close at once."""

    def check_timeouts(self, now: float) -> None:
        """Close if a timeout has passed; ``now`` is the loop's time."""


class ConnectionLimits:
    """All connections of one server."""

    def __init__(self, maximum: int, share: int, loop: asyncio.AbstractEventLoop) -> None:
        """Allow `maximum` connections, and `share` of them for one peer."""
        self._maximum = maximum
        self._share = share
        self._loop = loop
        self._members: set[Connection] = set()
        self._idle: OrderedDict[Connection, None] = OrderedDict()  # longest first
        self._idle_of: defaultdict[str | None, OrderedDict[Connection, None]] = defaultdict(
            OrderedDict
        )
        self._spare: OrderedDict[Connection, None] = OrderedDict()  # oldest first
        self._peers: Counter[str] = Counter()
        self._sweeping = False
        self._rejected = Tally(logger, "%d connections or requests exceeded the connection limits.")
        self.bodies = ReceivedBodies(BODIES_SIZE)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection. Return False if it may only request health checks."""
        self._sweep_later()
        if self._has_capacity(connection.peer):
            self._members.add(connection)
            self.mark_idle(connection)
            if connection.peer is not None:
                self._peers[connection.peer] += 1
            return True
        self._rejected.add()
        if len(self._spare) >= SPARE:
            self._evict(self._spare)
        self._spare[connection] = None
        return False

    def count_request(self, client: str) -> bool:
        """Count a request from a proxy. Return True if its client is within its share."""
        if self._peers[client] >= self._share:
            self._rejected.add()
            return False
        self._peers[client] += 1
        return True

    def release_request(self, client: str) -> None:
        """Stop counting such a request."""
        self._peers[client] -= 1
        if not self._peers[client]:
            del self._peers[client]

    def mark_idle(self, connection: Connection) -> None:
        """Note that a connection has no current request."""
        if connection in self._members:
            # Appended at the end: it was not idle before.
            self._idle[connection] = None
            self._idle_of[connection.peer][connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """Note that a connection has a current request."""
        self._idle.pop(connection, None)
        same_peer = self._idle_of[connection.peer]
        same_peer.pop(connection, None)
        if not same_peer:
            del self._idle_of[connection.peer]

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection."""
        self.mark_busy(connection)
        self._spare.pop(connection, None)
        if connection not in self._members:
            return
        self._members.remove(connection)
        if connection.peer is not None:
            self.release_request(connection.peer)

    def __len__(self) -> int:
        return len(self._members) + len(self._spare)

    def _has_capacity(self, peer: str | None) -> bool:
        if peer is not None and self._peers[peer] >= self._share:
            if peer not in self._idle_of:
                return False
            self._evict(self._idle_of[peer])
        if len(self._members) >= self._maximum and self._idle:
            self._evict(self._idle)
        return len(self._members) < self._maximum

    def _evict(self, among: OrderedDict[Connection, None]) -> None:
        victim = next(iter(among))
        self.remove(victim)
        victim.close_now()

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in [*self._members, *self._spare]:
            connection.check_timeouts(now)
        self._sweeping = False
        if self:
            self._sweep_later()


_of_servers: WeakKeyDictionary[ServerState, ConnectionLimits] = WeakKeyDictionary()


def connections_of(
    state: ServerState, config: Config, loop: asyncio.AbstractEventLoop
) -> ConnectionLimits:
    """Return the connections of a server; in tests, a process may have several servers."""
    found = _of_servers.get(state)
    if found is None:
        found = _of_servers[state] = _make_connections(config.backlog, loop)
    return found


def _make_connections(backlog: int, loop: asyncio.AbstractEventLoop) -> ConnectionLimits:
    limit = descriptor_limit()
    if is_limit_low(limit, backlog):
        logger.warning(
            "Only %d file descriptors, and a backlog of %d may use %d at once: raise `ulimit -n` "
            "or lower --backlog.", limit, backlog, backlog,
        )  # fmt: skip
    maximum = max_connections(limit, backlog)
    share = max(1, maximum // SHARE)
    logger.info("Connection limits: %d total, %d per peer (%d descriptors).", maximum, share, limit)
    return ConnectionLimits(maximum, share, loop)


def peer_key(address: tuple[str, int] | None) -> str | None:
    """Return the counting key of a connection; None behind a declared proxy or a Unix socket."""
    found = None if address is None else trusted_proxies.parse_address(address[0])
    proxies = trusted_proxies.trusted_networks()
    if found is None or trusted_proxies.is_trusted(found, proxies):
        return None
    if settings.SECURE_PROXY_SSL_HEADER and not proxies:
        return None
    return trusted_proxies.counting_key(found)
