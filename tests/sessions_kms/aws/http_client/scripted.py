"""A server of raw sockets that sends the bytes given by a test.

Each connection has a thread, which plays its part: it reads requests and sends bytes, closes or
falls silent. Knows nothing of the product.
"""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

Play = Callable[["Peer"], None]


def request(body: bytes = b"", path: bytes = b"/") -> bytes:
    """Return a request of this body."""
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path, len(body)) + body


def make_response(body: bytes = b"", *headers: bytes) -> bytes:
    """Return a response of this body."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", b""]
    return b"\r\n".join(lines) + body


class Gone(Exception):
    """The client has closed the connection."""


class Peer:
    """The server's end of one connection; ``number`` tells how many there were before it."""

    def __init__(self, number: int, made: socket.socket) -> None:
        self.number = number
        self.socket = made

    def request(self) -> bytes:
        """Return the body of the next request. Raises Gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._read()
        assert len(body) == length, "sent a second request before the first was answered"
        return body

    def send(self, data: bytes) -> None:
        """Send bytes. Raises Gone."""
        try:
            self.socket.sendall(data)
        except OSError as exc:
            raise Gone from exc

    def says_more(self) -> bool:
        """Return True if the client has sent something, or has closed."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def wait_for_the_end(self) -> None:
        """Read until the client closes."""
        with contextlib.suppress(Gone):
            while True:
                self._read()

    def _read(self) -> bytes:
        try:
            data = self.socket.recv(65536)
        except OSError as exc:
            raise Gone from exc
        if not data:
            raise Gone
        return data


def repeats(response: bytes) -> Play:
    """Respond to each request of a connection with these bytes."""

    def plays(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(response)

    return plays


def echoes(peer: Peer) -> None:
    """Answer each request with its own body, and the number of the connection in a header."""
    while True:
        body = peer.request()
        assert not peer.says_more(), "asked before it had answered"
        peer.send(make_response(body, b"Connection-Number: %d" % peer.number))


class Server:
    """Listens on a port of 127.0.0.1, and has each connection play."""

    def __init__(self, play: Play, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._play = play
        self._tls = tls
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_over = False
        self.failures: list[BaseException] = []
        self.open = 0
        self.most_open = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def connections(self) -> int:
        """Return how many there were."""
        return len(self._sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: object, trace: object) -> None:
        self.stop()
        assert exc is not None or not self.failures, self.failures

    def stop(self) -> None:
        """Listen no more, and end all connections."""
        self._is_over = True
        self._listener.close()
        with contextlib.suppress(OSError):  # wakes who accepts
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        for made in self._sockets:
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                made, _ = self._listener.accept()
            except OSError:
                return
            if self._is_over:
                made.close()
                return
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = len(self._sockets)
            self._sockets.append(made)
            self._start(lambda made=made, number=number: self._serve(made, number))  # type: ignore[misc]

    def _serve(self, made: socket.socket, number: int) -> None:
        with self._lock:
            self.open += 1
            self.most_open = max(self.open, self.most_open)
        try:
            if self._tls is not None:
                made = self._sockets[number] = self._tls.wrap_socket(made, server_side=True)
            self._play(Peer(number, made))
        except (Gone, OSError):
            pass
        except BaseException as exc:  # noqa: BLE001 - told by the test that ends
            self.failures.append(exc)
        finally:
            made.close()
            with self._lock:
                self.open -= 1
