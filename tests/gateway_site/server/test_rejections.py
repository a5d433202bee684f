"""Odd requests: refused on every path, under every server, with a problem document."""

import importlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.forwarding import request as upstream_call
from gateway_site.rules.upstream import read_upstreams
from tests.gateway_site.server.served import exchange, serving
from tests.support.cases import each_case

PATHS = ["/", "/healthz", "/gateway/x", "/accounts/login/", "/static/gateway.css"]
SERVERS = ["ours", "h11", "httptools"]


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    application = importlib.import_module("gateway_site.asgi").application
    with (
        serving(application) as ours,
        serving(application, http="h11") as h11,
        serving(application, http="httptools") as httptools,
    ):
        yield {"ours": ours.port, "h11": h11.port, "httptools": httptools.port}


@each_case("server", SERVERS)
@each_case("version", ["1.1", "1.0"])
@each_case("path", PATHS)
def test_both_framings_are_refused_and_nothing_after_them_is_read(
    ports: dict[str, int], server: str, version: str, path: str
) -> None:
    head = (
        f"POST {path} HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n"
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    )
    smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    got = exchange(ports[server], (head + smuggled).encode())
    assert got.split(b" ", 2)[1] == b"400", got
    assert got.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("server", SERVERS)
def test_one_framing_passes(ports: dict[str, int], server: str) -> None:
    request = b"POST /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi"
    assert exchange(ports[server], request).split(b" ", 2)[1] == b"405"


UPGRADE = "Connection: Upgrade\r\nUpgrade: {}\r\n"
WEBSOCKET = (
    UPGRADE.format("websocket")
    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def send_request(port: int, line: str, fields: str = "") -> tuple[int, dict[str, Any] | None]:
    """Send a request's head; give the status, and the problem document if there is one."""
    request = f"{line}\r\nHost: 127.0.0.1\r\n{fields}Connection: close\r\n\r\n"
    head, _, body = exchange(port, request.encode()).partition(b"\r\n\r\n")
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
    status, problem = send_request(ports[server], line, fields)
    assert status == 501
    assert problem is not None
    assert problem["code"] == "not_implemented"
    assert not [record for record in caplog.records if record.exc_info]


@each_case("offer", ["h2c", "TLS/1.2", "h2c, TLS/1.3"])
@each_case("server", SERVERS)
def test_offer_that_clients_make_by_themselves_is_ignored(
    ports: dict[str, int], server: str, offer: str
) -> None:
    assert send_request(ports[server], "GET /healthz HTTP/1.1", UPGRADE.format(offer))[0] == 200


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
def test_request_without_a_path_and_invalid_http_are_rejected(
    ports: dict[str, int], line: str
) -> None:
    status, problem = send_request(ports["ours"], line)
    assert status == 400
    assert problem is not None
    assert problem["code"] == "bad_request"


@each_case("server", SERVERS)
@each_case("path", ["/healthz", "/accounts/login/", "/gateway/x"])
def test_overlong_field_is_rejected(ports: dict[str, int], server: str, path: str) -> None:
    line = f"POST {path} HTTP/1.0"
    # Another server may refuse a head of this size itself.
    large = {431} if server != "h11" else {400, 431}
    assert send_request(ports[server], line, "Content-Type: " + "a" * 1025 + "\r\n")[0] == 400
    assert send_request(ports[server], line, "X-Long: " + "a" * 16 * 1024 + "\r\n")[0] in large
    assert send_request(ports[server], line, ("X-Long: " + "a" * 900 + "\r\n") * 19)[0] in large
    passing = send_request(ports[server], line)[0]
    assert send_request(ports[server], line, "Content-Type: " + "a" * 1024 + "\r\n")[0] == passing
    assert send_request(ports[server], line, "Cookie: a=" + "a" * 15_000 + "\r\n")[0] == passing


@pytest.mark.parametrize("server", ["ours", "httptools"])
def test_cookies_may_fill_the_head(ports: dict[str, int], server: str) -> None:
    """Users have no say in what sibling sites set."""
    cookies = "Cookie: a=" + "a" * 60_000 + "\r\n"
    assert send_request(ports[server], "GET /accounts/login/ HTTP/1.0", cookies)[0] == 200


UNREADABLE = (
    "a/b; x*=nope'y'z",
    "a; x*0*=\xff''a; x*1=b",
    "a; x*=a; x*0=b",
    "a; x*" + "9" * 900 + "=1",
    "application/x-www-form-urlencoded; charset=ascii",
    "application/x-www-form-urlencoded; charset=undefined",
    "multipart/form-data; boundary=x; charset=base64",
    "multipart/form-data; boundary=x; charset=undefined",
    "multipart/form-data; boundary=\xff",
    "multipart/form-data",
)
PART = "--x\r\nContent-Disposition: form-data; name=a{}\r\n\r\nb\r\n--x--\r\n"


@pytest.mark.parametrize("server", SERVERS)
def test_unreadable_content_type_is_no_failure(
    ports: dict[str, int],
    store: None,
    caplog: pytest.LogCaptureFixture,
    settings: Settings,
    server: str,
) -> None:
    """With any CSRF cookie, the form is read before the user is known."""
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    forms = [(each, "a=b") for each in UNREADABLE]
    forms += [
        ("multipart/form-data; boundary=x", PART.format(more)) for more in ("", "; x*=a; x*0=b")
    ]
    for kind, form in forms:
        for path in ("/healthz", "/accounts/login/", "/accounts/logout/"):
            assert post_form(ports[server], path, kind, form) not in {0, 500}, (path, kind)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def post_form(port: int, path: str, kind: str, form: str) -> int:
    """Send a form with a CSRF cookie and the origin that belongs to it; give the status."""
    fields = {
        "Host": "127.0.0.1",
        "Origin": "http://127.0.0.1",
        "Cookie": "gateway_csrftoken=" + "a" * 32,
        "Content-Type": kind,
        "Content-Length": str(len(form)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    got = exchange(port, f"POST {path} HTTP/1.0\r\n{head}\r\n{form}".encode("latin-1"))
    return int(got.split(b" ", 2)[1]) if got else 0


@pytest.mark.parametrize("server", ["ours", "h11", "httptools"])
def test_health_ignores_headers_about_a_body(
    ports: dict[str, int], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def parse(line: str) -> tuple[str, dict[str, str]]:
        read.append(line)
        return "", {}

    monkeypatch.setattr(upstream_call, "parse_header_parameters", parse)
    assert send_request(ports[server], "GET /livez HTTP/1.1", "Content-Type: a;b=c\r\n")[0] == 200
    assert set(read) <= {""}


def test_declared_method_of_an_upstream_is_allowed(
    ports: dict[str, int], settings: Settings
) -> None:
    settings.UPSTREAMS = read_upstreams(
        {
            "UPSTREAM_FILES_URL": "https://files.example.com",
            "UPSTREAM_FILES_PROVIDER": "corp",
            "UPSTREAM_FILES_METHODS": "PROPFIND",
        }
    )
    assert send_request(ports["ours"], "PROPFIND /gateway/files/ HTTP/1.1")[0] != 501


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
