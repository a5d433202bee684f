"""An upstream that violates HTTP in all ways by which a response can reach the wrong person.

    python -m tests.gateway_site.support.careless PORT

Written with sockets, from RFC 9112 and from the behaviour of real servers. `/plain/<mark>` gets a
correct response with the mark and the request's token; the first part of any other path names the
violation. Surplus bytes are a complete response, so that a client may take it for the next one.
Each connection has its own thread and no state of others.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable

LATE = 0.05  # seconds, after which a connection is certainly idle
LARGE = 300_000  # bytes: several reads of any client


def whole(body: bytes, *headers: bytes) -> bytes:
    """Return a correct response."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


class Connection:
    """One client's connection."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.rest = b""  # received bytes that were not yet parsed
        self.first_token = b""  # for servers that authenticate a connection, not each request
        self.owed: bytes | None = None  # the last response, if the server is one response behind
        self.count = 0

    def serve(self) -> None:
        with self.peer:
            try:
                while head := self._head():
                    self._response(head)
            except OSError:
                return

    def _head(self) -> bytes:
        while b"\r\n\r\n" not in self.rest:
            piece = self.peer.recv(65536)
            if not piece:
                return b""
            self.rest += piece
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        start = head.rfind(b"GET /planted/")  # skips bytes before it, such as a chunk's length
        return head[start:] if start > 0 else head

    def _response(self, head: bytes) -> None:
        line, *headers = head.split(b"\r\n")
        _, way, mark = line.split(b" ")[1].split(b"/")[-3:]
        token = next((h[14:].strip() for h in headers if h.lower()[:14] == b"authorization:"), b"")
        self.first_token = self.first_token or token
        text = mark + b" by " + token
        extra = whole(b"extra " + text)
        if way == b"plain":
            self._drop_body(headers)
            self._plainly(text)
            return
        if self.owed is not None:
            self._plainly(text)
            return
        WAYS[way.decode()](self, text, extra)

    def _plainly(self, text: bytes) -> None:
        """Send a correct response, or the previous one if the server is behind."""
        if self.owed is not None:
            text, self.owed = self.owed, text
        self.peer.sendall(whole(text))

    def _drop_body(self, headers: list[bytes]) -> None:
        length = next((int(h[15:]) for h in headers if h.lower()[:15] == b"content-length:"), 0)
        while len(self.rest) < length:
            self.rest += self.peer.recv(65536)
        self.rest = self.rest[length:]


def unread(to: Connection, text: bytes, extra: bytes) -> None:
    """Do not read the body, which is then read as the next request, as in `http.server`."""
    to.peer.sendall(whole(text))


def with_body(to: Connection, text: bytes, extra: bytes) -> None:
    """Answer HEAD as if it were GET."""
    to.peer.sendall(whole(extra))


def no_content(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n" + extra)


def no_content_of_a_length(to: Connection, text: bytes, extra: bytes) -> None:
    """Send a body after a 204 when the connection is idle."""
    to.peer.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(extra))
    time.sleep(LATE)
    to.peer.sendall(extra)


def not_modified(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n" + extra)


def interim_before(to: Connection, text: bytes, extra: bytes) -> None:
    """Send an interim response with a body, which is a complete response."""
    early = b"HTTP/1.1 103 Early Hints\r\nContent-Length: %d\r\n\r\n" % len(extra)
    to.peer.sendall(early + extra + whole(text))


def interim_after(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(whole(text) + b"HTTP/1.1 103 Early Hints\r\n\r\n" + extra)


def switching(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + extra)


def overlong(to: Connection, text: bytes, extra: bytes) -> None:
    """Send more than Content-Length says."""
    to.peer.sendall(whole(text) + extra)


def large_and_overlong(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(whole(text + b"." * LARGE) + extra)


def second(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(whole(text))
    to.peer.sendall(extra)


def late(to: Connection, text: bytes, extra: bytes) -> None:
    to.peer.sendall(whole(text))
    time.sleep(LATE)
    to.peer.sendall(extra)


def chunks_and_more(to: Connection, text: bytes, extra: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    to.peer.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text) + extra)


def both_lengths(to: Connection, text: bytes, extra: bytes) -> None:
    """Delimit the response in two ways; after the chunks there is another response."""
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    headers = b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n"
    to.peer.sendall(b"HTTP/1.1 200 OK\r\n" + headers % (len(chunks) + len(extra)))
    to.peer.sendall(chunks)
    time.sleep(LATE)
    to.peer.sendall(extra)


def length_twice(to: Connection, text: bytes, extra: bytes) -> None:
    again = b"Content-Length: %d" % len(text)
    to.peer.sendall(whole(text, again) + extra)


def behind(to: Connection, text: bytes, extra: bytes) -> None:
    """Delay the next response until the request after it; until then nothing shows it."""
    to.owed = b"extra " + text
    to.peer.sendall(whole(text))


def first_who_called(to: Connection, text: bytes, extra: bytes) -> None:
    """Treat all later requests as the first caller's, and record their paths."""
    to.owed = b"extra " + text.partition(b" by ")[0] + b" by " + to.first_token
    to.peer.sendall(whole(text))


Way = Callable[[Connection, bytes, bytes], None]
WAYS: dict[str, Way] = {
    "unread": unread,
    "planted": unread,
    "with-body": with_body,
    "no-content": no_content,
    "no-content-of-a-length": no_content_of_a_length,
    "not-modified": not_modified,
    "interim-before": interim_before,
    "interim-after": interim_after,
    "switching": switching,
    "overlong": overlong,
    "large-and-overlong": large_and_overlong,
    "second": second,
    "late": late,
    "chunks-and-more": chunks_and_more,
    "both-lengths": both_lengths,
    "length-twice": length_twice,
    "behind": behind,
    "first-who-called": first_who_called,
}


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(peer).serve, daemon=True).start()


if __name__ == "__main__":
    main()
