"""The connections of one process: how many there may be, and which goes when there are too many.

Descriptors are the scarce thing: without one neither DynamoDB nor KMS can be asked, and no
health check is heard. So each client's connection is counted, with a second descriptor for
the upstream that it may call. When all are taken, the one that has waited longest for its next
request makes room, among one peer's when its share is taken; if each has a request under way,
the newcomer may ask for its health only.
"""

from __future__ import annotations

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
from gateway_site.edge.descriptors import SPARE, allowed, are_few, each_way
from gateway_site.edge.reports import Tally

logger = logging.getLogger(__name__)

SHARE = 4  # one peer may hold a quarter
SWEEP = 1.0  # seconds between two looks for connections that are overdue


class Connection(Protocol):
    """What is asked of a connection here."""

    @property
    def peer(self) -> str | None:
        """The client's address; None when that is a proxy's."""

    def drop(self) -> None:
        """Close at once."""

    def look(self, now: float) -> None:
        """Do what is due at this moment of the loop's clock."""


class Connections:
    """All connections to one server."""

    def __init__(self, bound: int, share: int, loop: asyncio.AbstractEventLoop) -> None:
        """Let `bound` connections be, and `share` of them be one peer's."""
        self._bound = bound
        self._share = share
        self._loop = loop
        self._members: set[Connection] = set()
        self._waiting: OrderedDict[Connection, None] = OrderedDict()  # longest first
        self._waiting_of: defaultdict[str | None, OrderedDict[Connection, None]] = defaultdict(
            OrderedDict
        )
        self._spare: OrderedDict[Connection, None] = OrderedDict()  # oldest first
        self._peers: Counter[str] = Counter()
        self._sweeping = False
        self._refused = Tally(logger, "%d connections found no place.")
        self.bodies = ReceivedBodies(BODIES_SIZE)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection. Return whether it may ask for more than health."""
        self._sweep_later()
        if self._has_room(connection.peer):
            self._members.add(connection)
            self.waits(connection)
            if connection.peer is not None:
                self._peers[connection.peer] += 1
            return True
        self._refused.add()
        if len(self._spare) >= SPARE:
            self._evict(self._spare)
        self._spare[connection] = None
        return False

    def take(self, client: str) -> bool:
        """Count a request that a proxy passes on. Return whether its client has a share left."""
        if self._peers[client] >= self._share:
            self._refused.add()
            return False
        self._peers[client] += 1
        return True

    def give_back(self, client: str) -> None:
        """Count such a request no longer."""
        self._peers[client] -= 1
        if not self._peers[client]:
            del self._peers[client]

    def waits(self, connection: Connection) -> None:
        """Note that a connection has no request under way, from now on."""
        if connection in self._members:
            # Behind the others: it was not among them.
            self._waiting[connection] = None
            self._waiting_of[connection.peer][connection] = None

    def works(self, connection: Connection) -> None:
        """Note that a connection has a request under way."""
        self._waiting.pop(connection, None)
        mine = self._waiting_of[connection.peer]
        mine.pop(connection, None)
        if not mine:
            del self._waiting_of[connection.peer]

    def forget(self, connection: Connection) -> None:
        """Count a connection no longer."""
        self.works(connection)
        self._spare.pop(connection, None)
        if connection not in self._members:
            return
        self._members.remove(connection)
        if connection.peer is not None:
            self.give_back(connection.peer)

    def __len__(self) -> int:
        return len(self._members) + len(self._spare)

    def _has_room(self, peer: str | None) -> bool:
        if peer is not None and self._peers[peer] >= self._share:
            if peer not in self._waiting_of:
                return False
            self._evict(self._waiting_of[peer])
        if len(self._members) >= self._bound and self._waiting:
            self._evict(self._waiting)
        return len(self._members) < self._bound

    def _evict(self, among: OrderedDict[Connection, None]) -> None:
        victim = next(iter(among))
        self.forget(victim)
        victim.drop()

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in [*self._members, *self._spare]:
            connection.look(now)
        self._sweeping = False
        if self:
            self._sweep_later()


_of_servers: WeakKeyDictionary[ServerState, Connections] = WeakKeyDictionary()


def of_server(state: ServerState, config: Config, loop: asyncio.AbstractEventLoop) -> Connections:
    """Return the connections of a server, which this process may have several of in tests."""
    found = _of_servers.get(state)
    if found is None:
        found = _of_servers[state] = _counted(config.backlog, loop)
    return found


def _counted(backlog: int, loop: asyncio.AbstractEventLoop) -> Connections:
    limit = allowed()
    if are_few(limit, backlog):
        logger.warning(
            "%d descriptors are few, of which a backlog of %d may take %d at once: raise "
            "`ulimit -n`, or lower --backlog.", limit, backlog, backlog,
        )  # fmt: skip
    bound = each_way(limit, backlog)
    share = max(1, bound // SHARE)
    logger.info("At most %d connections, %d of one peer (%d descriptors).", bound, share, limit)
    return Connections(bound, share, loop)


def peer_of(address: tuple[str, int] | None) -> str | None:
    """Return whom a connection is counted under; None behind a declared proxy, or a Unix socket."""
    found = None if address is None else trusted_proxies.address(address[0])
    proxies = trusted_proxies.declared()
    if found is None or trusted_proxies.is_trusted(found, proxies):
        return None
    if settings.SECURE_PROXY_SSL_HEADER and not proxies:
        return None
    return trusted_proxies.counted_under(found)
