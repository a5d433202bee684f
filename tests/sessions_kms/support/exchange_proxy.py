"""A TCP proxy in front of a DynamoDB, which disturbs exchanges; it does not use our code."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """One request: its operation, its parameters, and the number of its connection."""

    operation: str
    body: dict[str, Any]
    connection: int


Plan = Callable[[Request], bytes | None]


def honest(_: Request) -> bytes | None:
    """Send no surplus response."""
    return None


@dataclass
class ExchangeProxy:
    """A running proxy. ``requests`` are recorded; ``closed`` are the closed connections.

    ``plan`` returns a surplus response, which is sent right after a request came. With ``shifts``,
    the real responses come one request late, with ``swallows`` the request goes nowhere.
    ``passed`` counts the bytes of the exchanges of the ``watched`` operation in both directions,
    ``answered`` those with a response, at least in part.
    """

    upstream: tuple[str, int]
    plan: Plan = honest
    shifts: bool = False
    swallows: bool = False
    url: str = ""
    opened: int = 0
    requests: list[Request] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    sockets: list[socket.socket] = field(default_factory=list)

    watched: str = "TransactWriteItems"
    cut_after: int | None = None
    down_then: bool = False
    down: bool = False
    holding: bool = False
    held: list[bytes] = field(default_factory=list)
    passed: int = 0
    answered: int = 0

    def asked(self, operation: str) -> list[Request]:
        """Return the requests of an operation, in order."""
        return [each for each in list(self.requests) if each.operation == operation]

    def strike(self, operation: str, *surplus: bytes) -> None:
        """Send one of these responses to each of the next requests of an operation."""
        left = list(surplus)

        def plan(request: Request) -> bytes | None:
            return left.pop(0) if left and request.operation == operation else None

        self.plan = plan

    def cut(self, after: int, *, down_then: bool = False) -> None:
        """Cut the next watched exchange; with ``down_then``, refuse connections afterwards."""
        self.cut_after, self.down_then, self.passed = after, down_then, 0

    def hold(self) -> None:
        """Delay the watched exchanges until `let_go`."""
        self.holding = True

    def let_go(self) -> int:
        """Deliver the delayed requests, even if their clients are gone; return their number."""
        held, self.held, self.holding = self.held, [], False
        for request in held:
            with socket.create_connection(self.upstream) as server:
                server.sendall(request)
                _End(server).message()
        return len(held)

    def heal(self) -> None:
        """Disturb nothing, and clear the records."""
        self.plan, self.shifts, self.swallows = honest, False, False
        self.down, self.cut_after, self.passed = False, None, 0
        self.requests.clear()

    def close_connections(self) -> None:
        for each in list(self.sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def send(self, to: "_End", data: bytes, *, is_watched: bool) -> None:
        """Pass bytes on. Raises EOFError after those at which the exchange is to be cut."""
        left = None
        if is_watched and self.cut_after is not None:
            left = self.cut_after - self.passed
        to.socket.sendall(data[:left])
        if is_watched:
            self.passed += len(data[:left])
        if left is not None and left <= len(data):
            self.cut_after, self.down = None, self.down_then
            if self.down:
                self.close_connections()
            raise EOFError


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
def running_exchange_proxy(upstream: str) -> Iterator[ExchangeProxy]:
    """Run a proxy in front of a DynamoDB, until the block ends."""
    address = urlsplit(upstream)
    proxy = ExchangeProxy((address.hostname or "", address.port or 80))
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    accepting = threading.Thread(target=_accept, args=(proxy, listener), daemon=True)
    accepting.start()
    try:
        yield proxy
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        proxy.close_connections()
        accepting.join(10)


def _accept(proxy: ExchangeProxy, listener: socket.socket) -> None:
    with suppress(OSError):  # raised when it is closed
        while True:
            made, _ = listener.accept()
            number, proxy.opened = proxy.opened, proxy.opened + 1
            proxy.sockets.append(made)
            threading.Thread(target=_serve, args=(proxy, made, number), daemon=True).start()


def _serve(proxy: ExchangeProxy, made: socket.socket, number: int) -> None:
    with made, suppress(OSError, EOFError), socket.create_connection(proxy.upstream) as upstream:
        proxy.sockets.append(upstream)
        if not proxy.down:
            _relay(proxy, _End(made), _End(upstream), number)
    proxy.closed.add(number)


def _relay(proxy: ExchangeProxy, client: _End, server: _End, number: int) -> None:
    late = b""  # the delayed real response to the previous request
    while True:
        message = client.message()
        request = _request(message, number)
        is_watched = request.operation == proxy.watched
        proxy.requests.append(request)
        if is_watched and proxy.holding:
            proxy.held.append(message)
            continue
        surplus = proxy.plan(request)
        shifts = bool(late) or (surplus is not None and proxy.shifts)
        if surplus is not None:
            client.socket.sendall(surplus)
            if proxy.swallows:
                continue
        elif late:
            client.socket.sendall(late)
        proxy.send(server, message, is_watched=is_watched)
        late = server.message()
        if not shifts:
            proxy.send(client, late, is_watched=is_watched)
            proxy.answered += is_watched
            late = b""


def _request(message: bytes, number: int) -> Request:
    head, _, body = message.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    target = next(each for each in lines if each.lower().startswith("x-amz-target:"))
    return Request(target.rpartition(".")[2], json.loads(body), number)
