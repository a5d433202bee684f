"""The client of a request, as the ASGI server sees it: what it sends, and whether it is connected.

The server counts the memory that every request body takes (`ReceivedBodies`), from the first byte.
The application reports when it streams a body piece by piece, and when it starts to work on a
complete one. If all bodies together take too much memory, the request whose body has been arriving
longest is ended: nobody is rejected because somebody else is slow.

The ASGI types are loose: `asgiref.typing` has a closed dict for each message type, which would have
to be narrowed before every access. https://asgi.readthedocs.io/en/stable/specs/main.html
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from gateway_site.edge.reports import Tally
from gateway_site.edge.shutdown import Shutdown, shutdown_of
from gateway_site.edge.trusted_proxies import counting_key, parse_address

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


CREDENTIALS = frozenset({b"authorization", b"cookie"})
RESPONSE_TIME = 60.0  # seconds in which a client must take the next piece of a response


class ClientGone(Exception):
    """The client has disconnected."""


class Client:
    """The channel of one request, whose messages can be received before the body is read."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._body = body_of(scope)
        # Receiving would send such a client 100 Continue.
        self._expects_continue = b"expect" in [name.lower() for name, _ in scope["headers"]]
        self._queued: deque[Mapping[str, Any]] = deque()

    def key(self) -> tuple[str | None, int]:
        """Return the key of waiting requests: the address, then cookies and token.

        Nobody has been identified by then, and cookies may be made up: the address comes first.
        """
        peer = self._scope.get("client")
        found = None if peer is None else parse_address(peer[0])
        shown = [value for name, value in self._scope["headers"] if name.lower() in CREDENTIALS]
        return None if found is None else counting_key(found), hash(tuple(shown))

    async def receive(self) -> Mapping[str, Any]:
        """Return the next message, a queued one first."""
        return self._queued.popleft() if self._queued else await self._receive_next()

    @property
    def shutdown(self) -> Shutdown:
        """The stop of its server."""
        return shutdown_of(self._scope.get("state", {}))

    def stream_body(self) -> None:
        """Note that each piece of the body is passed on before the next is received."""
        if self._body is not None:
            self._body.stream()

    def start_work(self) -> None:
        """Note that the work on the request starts, if its whole body was received."""
        if self._body is not None:
            self._body.start_work()

    async def wait_gone(self) -> None:
        """Return when the client has disconnected; never, if it has a body that nobody reads yet.

        Queues at most one piece of such a body.
        """
        last: Mapping[str, Any] = self._queued[-1] if self._queued else {}
        while last.get("type") != "http.disconnect":
            if self._expects_continue or last.get("more_body", False):
                await asyncio.Future()
            last = await self._receive_next()
            self._queued.append(last)

    async def _receive_next(self) -> Mapping[str, Any]:
        message = await self._receive()
        if self._body is not None:
            self._body.take()
        return message


logger = logging.getLogger(__name__)

BODY_KEY = "gateway.body"  # in the ASGI scope
BODY_ENDED = "Requests ended because all bodies together took too much memory: %d."
BODIES_SIZE = 64 * 1024 * 1024  # bytes of all bodies of a process


class EndableRequest(Protocol):
    """A request that can be ended from outside."""

    def end_body(self) -> None:
        """Answer 408, or close the connection if that is impossible; free the memory."""


class ReceivedBodies:
    """All bodies of one server."""

    def __init__(self, limit: int) -> None:
        """Allow them `limit` bytes."""
        self._limit = limit
        self._bodies: OrderedDict[ReceivedBody, None] = OrderedDict()  # the oldest first
        self._ended = Tally(logger, BODY_ENDED)
        self.size = 0

    def begin(self, request: EndableRequest) -> "ReceivedBody":
        """Return the body of a request, before its first byte."""
        return ReceivedBody(self, request)

    def add(self, body: "ReceivedBody", size: int) -> None:
        """Count bytes of a body; end requests while there are too many, perhaps this one."""
        self._bodies.setdefault(body)
        self.size += size
        while self.size > self._limit:
            self._ended.add()
            next(iter(self._bodies)).end()

    def release(self, body: "ReceivedBody", size: int) -> None:
        """Stop counting bytes of a body."""
        self.size -= size
        if body.size == 0:
            self._bodies.pop(body, None)

    def renew(self, body: "ReceivedBody") -> None:
        """Count a body as the newest."""
        if body in self._bodies:
            self._bodies.move_to_end(body)

    def __len__(self) -> int:
        return len(self._bodies)


class ReceivedBody:
    """One request's body, and how much of it is in memory."""

    __slots__ = ("_all", "_is_complete", "_is_streamed", "_request", "_taken", "has_ended", "size")

    def __init__(self, bodies: ReceivedBodies, request: EndableRequest) -> None:
        self._all = bodies
        self._request: EndableRequest | None = request  # until it is no longer counted
        self._is_complete = False
        self._is_streamed = False
        self._taken = 0  # counted bytes that the application has
        self.size = 0
        self.has_ended = False  # whether its request was ended, since bodies took too much memory

    # Called by the server

    def add(self, size: int) -> None:
        """Count received bytes. May end any request, including this one."""
        if self._request is not None:
            self.size += size
            self._all.add(self, size)

    def complete(self) -> None:
        """Note that the last byte has arrived."""
        self._is_complete = True

    def close(self) -> None:
        """Stop counting the body."""
        self._request = None  # it refers back to this object
        self._taken = 0
        self._release(self.size)

    def end(self) -> None:
        """End its request."""
        request = self._request
        self.close()
        if request is not None:
            self.has_ended = True
            request.end_body()

    # Called by the application

    def stream(self) -> None:
        """Count a piece only until the application receives the next: it keeps none."""
        self._is_streamed = True

    def take(self) -> None:
        """Note that the application has everything that arrived."""
        if self._is_streamed:
            self._release(self._taken)
            self._all.renew(self)
        self._taken = self.size

    def start_work(self) -> None:
        """Stop counting, if the application has the whole body: the work on it starts."""
        if self._is_complete and self._taken == self.size:
            self.close()

    def _release(self, size: int) -> None:
        self.size -= size
        self._all.release(self, size)


def body_of(scope: Mapping[str, Any]) -> ReceivedBody | None:
    """Return the body of a request; None under another server, or without a body."""
    found: ReceivedBody | None = scope.get(BODY_KEY)
    return found
