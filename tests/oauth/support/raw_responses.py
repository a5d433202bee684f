"""A server that sends bytes by hand: responses that are no good HTTP."""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Talk = Callable[[socket.socket, threading.Event], None]


@contextmanager
def serving_bytes(talk: Talk) -> Iterator[str]:
    """Serve one connection by hand."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    talk(connection, done)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/token"
        finally:
            done.set()
            thread.join()


def say(*pieces: bytes) -> Talk:
    def talk(connection: socket.socket, done: threading.Event) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return talk


def drip(connection: socket.socket, done: threading.Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while not done.wait(0.02):
        connection.sendall(b" ")


def drip_headers(connection: socket.socket, done: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not done.wait(0.02):
        connection.sendall(b"x")


def keep_silent(connection: socket.socket, done: threading.Event) -> None:
    done.wait()


COMPRESSED = gzip.compress(b" " * 10_000_000)

BAD: dict[str, Talk] = {
    "silent": keep_silent,
    "dripping": drip,
    "dripping in its headers": drip_headers,
    "endless": say(HEAD + b"\r\n", *[b" " * 65536] * 8),
    "compressed": say(
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(COMPRESSED), COMPRESSED
    ),
    "cut off": say(HEAD + b"Content-Length: 100\r\n\r\n{"),
    "no http": say(b"220 mail.example.com ESMTP\r\n"),
    "nothing": say(),
}
