"""The bodies that a server is receiving: how much memory they take, and which of them must go.

The server counts each body from its first byte. The application says when it passes a body on
piece by piece, and when its work on a complete one begins, which the number of threads limits.
Where all bodies together take too much, the request whose body has been arriving longest ends: so
nobody is rejected because somebody else is slow. Knows no HTTP and no event loop.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from gateway_site.edge.tally import Tally

logger = logging.getLogger(__name__)

KEY = "gateway.body"  # in the ASGI scope
ENDED = "Requests ended because all bodies together took too much memory: %d."
SIZE = 64 * 1024 * 1024  # bytes that all bodies of a process may take


class Request(Protocol):
    """A request that can be ended from outside."""

    def end_body(self) -> None:
        """Answer 408, or close the connection where that cannot be; free the memory."""


class ReceivedBodies:
    """All bodies of one server."""

    def __init__(self, limit: int) -> None:
        """Let them take `limit` bytes."""
        self._limit = limit
        self._bodies: OrderedDict[ReceivedBody, None] = OrderedDict()  # longest first
        self._ended = Tally(logger, ENDED)
        self.size = 0

    def begin(self, request: Request) -> ReceivedBody:
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

    def __init__(self, bodies: ReceivedBodies, request: Request) -> None:
        self._all = bodies
        self._request: Request | None = request  # until it is counted no longer
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


def of(scope: Mapping[str, Any]) -> ReceivedBody | None:
    """Return the body of a request; None under another server, or where there is none."""
    found: ReceivedBody | None = scope.get(KEY)
    return found
