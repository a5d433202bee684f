"""A slow server with raw sockets, without our code.

It accepts every connection, and then sends slowly, byte by byte, in one of several manners.
"""

import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

EVERY = 0.02  # seconds between two bytes
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"

Manner = Literal["silent", "trickles its head", "trickles its body", "trickles a header", "deaf"]
MANNERS: tuple[Manner, ...] = (
    "silent",
    "trickles its head",
    "trickles its body",
    "trickles a header",
    "deaf",
)
# The bytes that are sent at once, and those that are sent slowly and repeatedly.
SAYS: dict[Manner, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "deaf": (b"", b""),
    "trickles its head": (b"", HEAD),
    "trickles a header": (HEAD + b"X-Long: ", b"a"),
    "trickles its body": (HEAD + b"Content-Length: 1000000\r\n\r\n{", b" "),
}


@dataclass
class SlowServer:
    """A running server: ``accepted`` counts connections, ``open`` those that are still open."""

    port: int
    accepted: int = 0
    open: set[socket.socket] = field(default_factory=set)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_slowly(manner: Manner, tls: ssl.SSLContext | None = None) -> Iterator[SlowServer]:
    """Run a server until the block ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        if manner == "deaf":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server = SlowServer(listener.getsockname()[1])
        run = threading.Thread(target=_serve, args=(server, listener, manner, tls))
        run.start()
        try:
            yield server
        finally:
            server._ended.set()
            run.join()
            for connection in server.open:
                connection.close()


def _serve(
    server: SlowServer, listener: socket.socket, manner: Manner, tls: ssl.SSLContext | None
) -> None:
    sent: dict[socket.socket, int] = {}
    at_once, trickled = SAYS[manner]
    listener.setblocking(False)
    with selectors.DefaultSelector() as incoming:
        incoming.register(listener, selectors.EVENT_READ)
        while not server._ended.wait(EVERY):
            while made := _accept(listener, tls):
                server.accepted += 1
                server.open.add(made)
                sent[made] = 0
                _try(server, made, lambda made=made: made.sendall(at_once))  # type: ignore[misc]
            for each in list(server.open):
                position = sent[each] % len(trickled) if trickled else 0
                sent[each] += 1
                if manner != "deaf":
                    _take(server, each)
                byte = trickled[position : position + 1]
                _try(server, each, lambda each=each, byte=byte: each.send(byte))  # type: ignore[misc]


def _accept(listener: socket.socket, tls: ssl.SSLContext | None) -> socket.socket | None:
    try:
        made, _ = listener.accept()
    except BlockingIOError:
        return None
    if tls is not None:
        made.settimeout(1)
        try:
            made = tls.wrap_socket(made, server_side=True)
        except OSError:
            made.close()
            return None
    made.setblocking(False)
    return made


def _take(server: SlowServer, connection: socket.socket) -> None:
    """Read the received bytes, and check whether the client has disconnected."""
    try:
        gone = connection.recv(65536) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return
    except OSError:  # including TLS errors after a disconnect
        gone = True
    if gone:
        server.open.discard(connection)
        connection.close()


def _try(server: SlowServer, connection: socket.socket, act: Callable[[], object]) -> None:
    if connection not in server.open:
        return
    try:
        act()
    except (BlockingIOError, ssl.SSLWantWriteError):
        pass
    except OSError:
        server.open.discard(connection)
        connection.close()
