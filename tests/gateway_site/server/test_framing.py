"""Content-Length with Transfer-Encoding: refused on every path, under every server."""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from tests.gateway_site.server.served import answer, serving

PATHS = ["/", "/healthz", "/gateway/x", "/accounts/login/", "/static/gateway.css"]
SERVERS = ["ours", "h11", "httptools", "wsgi"]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- its name
        pass


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    application = importlib.import_module("gateway_site.asgi").application
    wsgi = make_server(
        "127.0.0.1", 0, importlib.import_module("gateway_site.wsgi").application,
        handler_class=Quiet,
    )  # fmt: skip
    thread = threading.Thread(target=wsgi.serve_forever, args=(0.02,))
    thread.start()
    with (
        serving(application) as ours,
        serving(application, http="h11") as h11,
        serving(application, http="httptools") as httptools,
    ):
        yield {
            "ours": ours.port,
            "h11": h11.port,
            "httptools": httptools.port,
            "wsgi": wsgi.server_port,
        }
    wsgi.shutdown()
    wsgi.server_close()
    thread.join()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("path", PATHS)
def test_both_framings_are_refused_and_nothing_after_them_is_read(
    ports: dict[str, int], server: str, version: str, path: str
) -> None:
    head = (
        f"POST {path} HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n"
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    )
    smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    address = ("127.0.0.1", ports[server])
    with socket.create_connection(address, timeout=20) as client:
        client.sendall((head + smuggled).encode())
        got = answer(client)
    assert got.split(b" ", 2)[1] == b"400", got
    assert got.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("server", SERVERS)
def test_one_framing_passes(ports: dict[str, int], server: str) -> None:
    request = b"POST /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi"
    with socket.create_connection(("127.0.0.1", ports[server]), timeout=20) as client:
        client.sendall(request)
        assert answer(client).split(b" ", 2)[1] == b"405"
