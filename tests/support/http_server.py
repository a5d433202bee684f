"""HTTP servers in a thread of the test's process."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from socket import socket, socketpair
from socketserver import TCPServer
from threading import Thread
from typing import Any, TypeVar

S = TypeVar("S", bound=TCPServer)


class QuietHandler(BaseHTTPRequestHandler):
    """Logs nothing."""

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def respond(
        self,
        status: int,
        body: bytes = b"",
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole response, without its body to HEAD."""
        self.send_response(status)
        everything = {"Content-Type": media_type, "Content-Length": str(len(body))}
        for name, value in (everything | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Keep the test output clean."""


class TlsServer(ThreadingHTTPServer):
    """Handshakes in the thread of each connection; ignores clients that disconnect."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore them."""


@contextmanager
def serve(server: S) -> Iterator[S]:
    """Serve in a thread until the block ends."""
    server.timeout = 0  # of `handle_request`, if a connection that was to be accepted is gone
    mine, ending = socketpair()
    with server, mine, ending, DefaultSelector() as selector:
        selector.register(server, EVENT_READ)
        selector.register(ending, EVENT_READ)
        thread = Thread(target=_serve_until_readable, args=(server, ending, selector))
        thread.start()
        try:
            yield server
        finally:
            mine.close()
            thread.join()


def _serve_until_readable(server: TCPServer, ending: socket, selector: BaseSelector) -> None:
    """Serve without waking up to look whether to end, as `serve_forever` does."""
    while all(ready.fileobj is not ending for ready, _ in selector.select()):
        server.handle_request()


@contextmanager
def serve_handler(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1, with a thread for each connection; return the address."""
    with serve(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
