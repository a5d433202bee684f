"""The client of a request, as the ASGI server sees it: what it sends, and whether it is connected.

The server counts the memory that every request body takes (`ReceivedBodies`), from the first byte.
The application reports when it streams a body piece by piece, and when it starts to work on a
complete one. If all bodies together take too much memory, the request whose body has been arriving
longest is ended: nobody is rejected because somebody else is slow.

The ASGI types are loose: `asgiref.typing` has a closed dict for each message type, which would have
to be narrowed before every access. https://asgi.readthedocs.io/en/stable/specs/main.html
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from gateway_site.edge.reports import Tally
from gateway_site.edge.trusted_proxies import address, counted_under

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


CREDENTIALS = frozenset({b"authorization", b"cookie"})
ANSWER_TIME = 60.0  # seconds in which a client must take the next piece of an answer


class ClientGone(Exception):
    """The client has closed the connection."""


class Client:
    """The channel of one request, which can be listened to before anybody reads it."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._body = body_of(scope)
        # To ask for the body would tell such a client to send it.
        self._is_asked = b"expect" in [name.lower() for name, _ in scope["headers"]]
        self._heard: deque[Mapping[str, Any]] = deque()

    def key(self) -> tuple[str | None, int]:
        """Return by what requests that wait are told apart: address, then cookies and token.

        Nobody has been found out by then, and cookies may be made up: the address comes first.
        """
        peer = self._scope.get("client")
        found = None if peer is None else address(peer[0])
        shown = [value for name, value in self._scope["headers"] if name.lower() in CREDENTIALS]
        return None if found is None else counted_under(found), hash(tuple(shown))

    async def receive(self) -> Mapping[str, Any]:
        """Return the next message, one that was heard already first."""
        return self._heard.popleft() if self._heard else await self._next()

    def pass_body_on(self) -> None:
        """Note that each piece of the body is passed on before the next is asked for."""
        if self._body is not None:
            self._body.pass_on()

    def start_work(self) -> None:
        """Note that the work on the request begins, if its whole body was received."""
        if self._body is not None:
            self._body.start_work()

    async def gone(self) -> None:
        """Return when the client has gone; never, where it has a body that nobody reads yet.

        Holds one piece of such a body at most.
        """
        heard: Mapping[str, Any] = self._heard[-1] if self._heard else {}
        while heard.get("type") != "http.disconnect":
            if self._is_asked or heard.get("more_body", False):
                await asyncio.Future()
            heard = await self._next()
            self._heard.append(heard)

    async def _next(self) -> Mapping[str, Any]:
        message = await self._receive()
        if self._body is not None:
            self._body.take()
        return message


logger = logging.getLogger(__name__)

BODY_KEY = "gateway.body"  # in the ASGI scope
BODY_ENDED = "Requests ended because all bodies together took too much memory: %d."
BODIES_SIZE = 64 * 1024 * 1024  # bytes that all bodies of a process may take


class EndableRequest(Protocol):
    """A request that can be ended from outside."""

    def end_body(self) -> None:
        """Answer 408, or close the connection where that cannot be; free the memory."""


class ReceivedBodies:
    """All bodies of one server."""

    def __init__(self, limit: int) -> None:
        """Let them take `limit` bytes."""
        self._limit = limit
        self._bodies: OrderedDict[ReceivedBody, None] = OrderedDict()  # longest first
        self._ended = Tally(logger, BODY_ENDED)
        self.size = 0

    def begin(self, request: EndableRequest) -> ReceivedBody:
        """Return the body of a request, of which no byte is there yet."""
        return ReceivedBody(self, request)

    def add(self, body: ReceivedBody, size: int) -> None:
        """Count bytes of a body; end requests while there are too many. It may be this one."""
        self._bodies.setdefault(body)
        self.size += size
        while self.size > self._limit:
            self._ended.add()
            next(iter(self._bodies)).end()

    def release(self, body: ReceivedBody, size: int) -> None:
        """Count so many bytes of a body no longer."""
        self.size -= size
        if body.size == 0:
            self._bodies.pop(body, None)

    def renew(self, body: ReceivedBody) -> None:
        """Count a body as the last that began to arrive."""
        if body in self._bodies:
            self._bodies.move_to_end(body)

    def __len__(self) -> int:
        return len(self._bodies)


class ReceivedBody:
    """One request's body: how much of it is in memory."""

    __slots__ = ("_all", "_is_complete", "_is_passed_on", "_request", "_taken", "has_ended", "size")

    def __init__(self, bodies: ReceivedBodies, request: EndableRequest) -> None:
        self._all = bodies
        self._request: EndableRequest | None = request  # until it is counted no longer
        self._is_complete = False
        self._is_passed_on = False
        self._taken = 0  # bytes that the application has, of those that count
        self.size = 0
        self.has_ended = False  # its request, because bodies took too much memory

    # What the server calls

    def add(self, size: int) -> None:
        """Count bytes that arrived. May end any request, this one included."""
        if self._request is not None:
            self.size += size
            self._all.add(self, size)

    def complete(self) -> None:
        """Note that the last byte has arrived."""
        self._is_complete = True

    def close(self) -> None:
        """Count it no longer."""
        self._request = None  # which leads back here: each would keep the other
        self._taken = 0
        self._release(self.size)

    def end(self) -> None:
        """End its request."""
        request = self._request
        self.close()
        if request is not None:
            self.has_ended = True
            request.end_body()

    # What the application calls

    def pass_on(self) -> None:
        """Count a piece only until the application has the next one: it keeps none."""
        self._is_passed_on = True

    def take(self) -> None:
        """Note that the application has all that arrived."""
        if self._is_passed_on:
            self._release(self._taken)
            self._all.renew(self)
        self._taken = self.size

    def start_work(self) -> None:
        """Count it no longer, if the application has all of it: the work on it begins."""
        if self._is_complete and self._taken == self.size:
            self.close()

    def _release(self, size: int) -> None:
        self.size -= size
        self._all.release(self, size)


def body_of(scope: Mapping[str, Any]) -> ReceivedBody | None:
    """Return the body of a request; None under another server, or where there is none."""
    found: ReceivedBody | None = scope.get(BODY_KEY)
    return found
