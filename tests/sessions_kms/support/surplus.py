"""A TCP proxy in front of DynamoDB that sends responses of other requests.

It reads whole requests and responses from raw sockets, without our code. If its ``plan`` returns a
response, that is sent as soon as the request is received: complete, well-formed, with a correct
checksum. The real response follows at once, or after the connection's next request (``shifts``), or
the request never reaches DynamoDB (``swallows``).
"""

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Body = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request: its operation, its parameters, and the number of its connection."""

    operation: str
    body: Body
    connection: int


Plan = Callable[[Request], bytes | None]


def answer(body: Body, status: int = 200) -> bytes:
    """Return a whole HTTP/1.1 response in DynamoDB's format."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(content)}\r\nx-amz-crc32: {zlib.crc32(content)}\r\n\r\n"
    )
    return head.encode() + content


def honest(_: Request) -> bytes | None:
    """Send no surplus response."""
    return None


@dataclass
class SurplusProxy:
    """A running proxy. ``requests`` are recorded; ``closed`` are the closed connections."""

    upstream: str
    plan: Plan = honest
    shifts: bool = False
    swallows: bool = False
    url: str = ""
    opened: int = 0
    requests: list[Request] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    sockets: list[socket.socket] = field(default_factory=list)

    def asked(self, operation: str) -> list[Request]:
        """Return the requests of an operation, in order."""
        return [each for each in list(self.requests) if each.operation == operation]

    def strike(self, operation: str, *surplus: bytes) -> None:
        """Send one of these responses to each of the next requests of an operation."""
        left = list(surplus)

        def plan(request: Request) -> bytes | None:
            return left.pop(0) if left and request.operation == operation else None

        self.plan = plan

    def heal(self) -> None:
        """Stop sending surplus responses, and clear the records."""
        self.plan, self.shifts, self.swallows = honest, False, False
        self.requests.clear()


class _End:
    """One end of a connection, from which whole messages are read."""

    def __init__(self, made: socket.socket) -> None:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = made
        self._data = b""

    def message(self) -> bytes:
        """Return the next request or response. Raises EOFError."""
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            self._read()
        told = self._data[:end].lower().partition(b"content-length:")[2]
        size = end + 4 + int(told.partition(b"\r\n")[0])
        while len(self._data) < size:
            self._read()
        message, self._data = self._data[:size], self._data[size:]
        return message

    def _read(self) -> None:
        if not (more := self.socket.recv(65536)):
            raise EOFError
        self._data += more


@contextmanager
def running_surplus_proxy(upstream: str) -> Iterator[SurplusProxy]:
    """Run a proxy in front of a DynamoDB, until the block ends."""
    proxy = SurplusProxy(upstream)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    accepting = threading.Thread(target=_accept, args=(proxy, listener), daemon=True)
    accepting.start()
    try:
        yield proxy
    finally:
        for each in (listener, *proxy.sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)


def _accept(proxy: SurplusProxy, listener: socket.socket) -> None:
    with suppress(OSError):  # raised when it is closed
        while True:
            made, _ = listener.accept()
            number, proxy.opened = proxy.opened, proxy.opened + 1
            proxy.sockets.append(made)
            threading.Thread(target=_serve, args=(proxy, made, number), daemon=True).start()


def _serve(proxy: SurplusProxy, made: socket.socket, number: int) -> None:
    to = urlsplit(proxy.upstream)
    with made, socket.create_connection((to.hostname or "", to.port or 80)) as upstream:
        proxy.sockets.append(upstream)
        with suppress(OSError, EOFError):
            _relay(proxy, _End(made), _End(upstream), number)
    proxy.closed.add(number)


def _relay(proxy: SurplusProxy, client: _End, server: _End, number: int) -> None:
    late = b""  # the delayed real response to the previous request
    while True:
        message = client.message()
        request = _request(message, number)
        proxy.requests.append(request)
        surplus = proxy.plan(request)
        shifts = bool(late) or (surplus is not None and proxy.shifts)
        if surplus is not None:
            client.socket.sendall(surplus)
            if proxy.swallows:
                continue
        elif late:
            client.socket.sendall(late)
        server.socket.sendall(message)
        late = server.message()
        if not shifts:
            client.socket.sendall(late)
            late = b""


def _request(message: bytes, number: int) -> Request:
    head, _, body = message.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    target = next(each for each in lines if each.lower().startswith("x-amz-target:"))
    return Request(target.rpartition(".")[2], json.loads(body), number)
