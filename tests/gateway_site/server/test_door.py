"""Odd requests: refused on every path, under every server, with a problem document."""

from __future__ import annotations

import importlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from pytest_django import Settings

from gateway_site.rules import upstream as upstreams
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


UPGRADE = "Connection: Upgrade\r\nUpgrade: {}\r\n"
WEBSOCKET = (
    UPGRADE.format("websocket")
    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def asked(port: int, line: str, fields: str = "") -> tuple[int, dict[str, Any] | None]:
    """Send a request's head; give the status, and the problem document if there is one."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"{line}\r\nHost: 127.0.0.1\r\n{fields}Connection: close\r\n\r\n".encode())
        head, _, body = answer(client).partition(b"\r\n\r\n")
    document = body[body.find(b"{") : body.rfind(b"}") + 1]  # it may come in a chunk
    is_problem = b"application/problem+json" in head
    return int(head.split(b" ", 2)[1]), json.loads(document) if is_problem else None


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("GET / HTTP/1.1", WEBSOCKET),
        ("GET /gateway/x HTTP/1.1", WEBSOCKET),
        ("GET / HTTP/1.1", UPGRADE.format("h2c, websocket")),
        ("GET /gateway/x HTTP/1.1", UPGRADE.format("irc")),
        ("PROPFIND / HTTP/1.1", ""),
        ("PROPFIND /gateway/x HTTP/1.1", ""),
        ("TRACE / HTTP/1.1", ""),
    ],
)
def test_other_protocols_and_methods_are_not_implemented(
    ports: dict[str, int], caplog: pytest.LogCaptureFixture, server: str, line: str, fields: str
) -> None:
    status, problem = asked(ports[server], line, fields)
    assert status == 501
    assert problem is not None
    assert problem["code"] == "not_implemented"
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("offer", ["h2c", "TLS/1.2", "h2c, TLS/1.3"])
@pytest.mark.parametrize("server", SERVERS)
def test_offer_that_clients_make_by_themselves_is_ignored(
    ports: dict[str, int], server: str, offer: str
) -> None:
    assert asked(ports[server], "GET /healthz HTTP/1.1", UPGRADE.format(offer))[0] == 200


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT example.com:443 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://127.0.0.1/gateway/x HTTP/1.1",
        "GET http://evil.example/ HTTP/1.1",
        "PRI * HTTP/2.0",
        "BREW /gateway/x HTTP/1.1",
        "get / HTTP/1.1",
        "GET gateway/x HTTP/1.1",
    ],
)
def test_our_server_refuses_what_names_no_path_and_what_is_no_http(
    ports: dict[str, int], line: str
) -> None:
    status, problem = asked(ports["ours"], line)
    assert status == 400
    assert problem is not None
    assert problem["code"] == "bad_request"


def test_method_that_an_upstream_declares_is_known(
    ports: dict[str, int], settings: Settings
) -> None:
    settings.UPSTREAMS = upstreams.configured(
        {
            "UPSTREAM_FILES_URL": "https://files.example.com",
            "UPSTREAM_FILES_PROVIDER": "corp",
            "UPSTREAM_FILES_METHODS": "PROPFIND",
        }
    )
    assert asked(ports["ours"], "PROPFIND /gateway/files/ HTTP/1.1")[0] != 501


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_websocket_of_another_server_is_refused(extensions: dict[str, Any]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    application = importlib.import_module("gateway_site.asgi").application
    scope = {"type": "websocket", "path": "/", "headers": [], "extensions": extensions}
    await application(scope, None, send)
    assert [message["type"] for message in sent] == (
        ["websocket.http.response.start", "websocket.http.response.body"]
        if extensions
        else ["websocket.close"]
    )
