"""Whatever an OAuth client is refused by, it can read why: JSON, from pages of every origin.

Adversaries: the honest OAuth client, which drops its tokens at an error of another form; a page of
another site, which must learn nothing of a person. Written by raw sockets against the product's
server; time-outs are those of a clock that the test moves.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pytest_django import Settings

from gateway_site.edge import access_log, oauth_errors
from gateway_site.forwarding import asgi as handler
from gateway_site.server import connections, rejections
from oauth.clients.server import AuthorizationServer
from tests.gateway_site.server import urls
from tests.gateway_site.server.served import Served, read_all, read_response, serving
from tests.gateway_site.support.gateways import Gateway
from tests.oauth.clients.support.app import SERVER

FIELDS = b"Host: 127.0.0.1\r\nOrigin: https://app.example\r\nCookie: gateway_sessionid=x\r\n"
LARGE = 5_000_000
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    settings.ROOT_URLCONF = "tests.gateway_site.server.urls"
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    urls.go_on.set()
    application = oauth_errors.asgi(rejections.asgi(handler.GatewayHandler()))
    with serving(access_log.asgi(application)) as running:
        yield running


def request(line: str, fields: bytes = b"", body: bytes = b"") -> bytes:
    return line.encode() + b" HTTP/1.1\r\n" + FIELDS + fields + b"\r\n" + body


def length(size: int) -> bytes:
    return f"Content-Length: {size}\r\n".encode()


TOKEN = "POST /oauth/token"
REFUSED: list[tuple[int, bytes]] = [
    (413, request(TOKEN, FORM + length(LARGE), b"a" * LARGE)),
    (413, request("POST /token", FORM + length(LARGE), b"a" * LARGE)),
    (413, request("POST /oauth/nowhere", FORM + length(LARGE), b"a" * LARGE)),
    (400, request(TOKEN, length(0)).replace(b"127.0.0.1", b"evil.example")),
    (404, request("GET /oauth/nowhere")),
    (404, request("POST /oauth/token/", length(0))),
    (404, request("GET /.well-known/oauth-protected-resource")),
    (405, request("DELETE /oauth/token")),
    (500, request("GET /oauth/failing")),
    (501, request("PROPFIND /oauth/token")),
    (501, request(TOKEN, b"Connection: upgrade\r\nUpgrade: websocket\r\n")),
    (400, request(TOKEN, length(1) + b"Transfer-Encoding: chunked\r\n", b"1")),
    (400, request(TOKEN, b"X : y\r\n")),
    (431, request(TOKEN, b"X: " + b"a" * 70_000 + b"\r\n")),
    (414, request(TOKEN + "?" + "a" * 30_000)),
    (505, request(TOKEN, length(0)).replace(b"HTTP/1.1", b"HTTP/2.0")),
]


def read_error(got: bytes) -> dict[str, Any]:
    """Return the error of a response, after a look at what makes it one that a client can read."""
    head, _, body = got.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"access-control-allow-origin"] == b"*"
    assert fields[b"cache-control"] == b"no-store"
    assert int(fields[b"content-length"]) == len(body)
    assert b"access-control-allow-credentials" not in fields
    assert b"set-cookie" not in fields
    document: dict[str, Any] = json.loads(body)
    assert document.keys() == {"error", "error_description"}
    return document


@pytest.mark.parametrize(("status", "sent"), REFUSED)
def test_error_can_be_read(served: Served, status: int, sent: bytes) -> None:
    got = read_response(served.connect(sent))
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert read_error(got)["error"] == ("server_error" if status == 500 else "invalid_request")


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (request(TOKEN, FORM + length(10), b"a"), 32),
        (request(TOKEN)[:-2], 11),
    ],
)
def test_time_out_can_be_read(served: Served, sent: bytes, seconds: int) -> None:
    client = served.connect(sent)
    served.advance(seconds)
    got = read_all(client)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert read_error(got)["error"] == "invalid_request"


def test_want_of_connections_keeps_a_client_its_tokens(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections.ConnectionLimits, "admit", lambda *_: False)
    got = read_response(served.connect(request(TOKEN, length(0))))
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in got
    assert read_error(got)["error"] == "temporarily_unavailable"
    page = read_response(served.connect(request("GET /page")))
    assert page.startswith(b"HTTP/1.1 503 ")
    assert b"access-control" not in page


@pytest.mark.parametrize("headers", [[], [(b"retry-after", b"7")]])
async def test_page_in_its_place_leaves_nothing_of_itself(
    settings: Settings, headers: list[tuple[bytes, bytes]]
) -> None:
    """A response of any server's making, compressed, in pieces and with a cookie."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER)
    page = [
        (b"content-type", b"text/html"),
        (b"Content-Encoding", b"gzip"),
        (b"set-cookie", b"sessionid=secret"),
        (b"vary", b"Cookie"),
        *headers,
    ]

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": page})
        for more in (True, True, False):
            await send({"type": "http.response.body", "body": b"<html>", "more_body": more})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/oauth/token", "method": "POST", "headers": []}
    await oauth_errors.asgi(failing)(scope, None, send)  # type: ignore[arg-type]  # it reads nothing
    start, body = sent
    found = dict(start["headers"])
    assert json.loads(body["body"])["error"] == "temporarily_unavailable"
    assert not body.get("more_body")
    assert found[b"retry-after"] == (b"7" if headers else b"5")
    assert found[b"vary"] == b"Cookie"
    assert found.keys().isdisjoint({b"set-cookie", b"content-encoding"})


NAVIGATES = b"Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        request("GET /oauth/nowhere", NAVIGATES),
        request("GET /oauth/nowhere", b"Accept: text/html,*/*\r\n"),
        request("POST /oauth/authorize", FORM + length(LARGE), b"a" * LARGE),
        request("DELETE /oauth/authorize", b"Upgrade: websocket\r\nConnection: upgrade\r\n"),
        request("POST /page", FORM + length(LARGE), b"a" * LARGE),
        request("GET /nowhere"),
        request("GET /tokens"),
        request("GET /gateway/x", b"X : y\r\n"),
    ],
)
def test_error_at_other_addresses_and_for_people_stays_as_it_is(
    served: Served, sent: bytes
) -> None:
    got = read_response(served.connect(sent))
    assert got[9:10] in b"45"
    assert b"access-control" not in got.lower()
    assert b'"error"' not in got


def test_nothing_changes_without_oauth_clients(served: Served, settings: Settings) -> None:
    settings.AUTHORIZATION_SERVER = None
    for status, sent in REFUSED:
        if status != 405:  # the view's own
            got = b""
            client = served.connect(sent)
            while b"\r\n\r\n" not in got:
                got += client.recv(65536)
            assert got.startswith(f"HTTP/1.1 {status} ".encode())
            assert b"access-control" not in got.lower()


def test_gateway_as_it_is_served_answers_so(gateway: Gateway) -> None:
    got = requests.post(f"{gateway.url}/oauth/token", b"a" * LARGE, timeout=20)
    assert (got.status_code, got.json()["error"]) == (413, "invalid_request")
    assert got.headers["Access-Control-Allow-Origin"] == "*"
