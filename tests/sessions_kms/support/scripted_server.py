"""A DynamoDB with scripted responses, which records its requests."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support.http_server import serve


class Said(NamedTuple):
    """The response to one request; with status 0 the connection is closed instead."""

    status: int
    code: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()


class Asked(NamedTuple):
    """One request."""

    headers: dict[str, str]
    body: bytes


class Server(ThreadingHTTPServer):
    """A running server: ``script`` are the next responses, ``asked`` the received requests."""

    daemon_threads = True  # A client may keep its connection open.

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Said] = []
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that do not trust the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # Send head and body together.
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(Asked(dict(self.headers.items()), body))
        said = self.server.script.pop(0)
        if said.status == 0:
            self.close_connection = True
            return
        response = {"__type": said.code} if said.code else {}
        content = json.dumps(response | dict(said.fields)).encode()
        self.send_response_only(said.status)
        for name, value in (*said.headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def running_by_script(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server()
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serve(server):
        yield server
