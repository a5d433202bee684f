"""Requests that the server rejects: a person gets a page, as far as the head says who asks.

The adversaries send raw bytes: a browser with too many cookies, and what imitates one.
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pytest_django import Settings

from gateway_site.edge import descriptors, own_cookies
from gateway_site.forwarding.prepared_pages import prepared_pages
from gateway_site.server import connections, rejections
from gateway_site.server.protocol import HEAD_TIME
from tests.gateway_site.server.rejected_heads import CASES
from tests.gateway_site.server.served import Application, Served, read_all, read_response, serving
from tests.gateway_site.support.page_requests import assert_accessible
from tests.support.cases import each_case

SHOWN = b"Sec-Fetch-Dest: document\r\n"
HOST = b"\r\nHost: a"
GET = b"GET /x HTTP/1.1\r\n" + SHOWN + b"Host: a\r\n\r\n"
SHOWN_FIELD = (b"sec-fetch-dest", b"document")
PAGE = b"content-type: text/html"
DOCUMENT = b"content-type: application/problem+json"
# Of these no header is read.
WITHOUT_HEADERS = {
    "HTTP/0.9", "TLS", "a target without an end", "empty lines without an end", "nothing of HTTP",
    "HTTP/2's preface", "bytes that are not ASCII",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _pages_of_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have them shown, as `gateway_site.asgi` does."""
    monkeypatch.setattr(rejections.pages, "_render", prepared_pages().rejection)


def send(served: Served, request: bytes) -> bytes:
    client = served.connect()
    with suppress(OSError):  # it may close before it has taken all
        client.sendall(request)
    return read_all(client)


def read_page(got: bytes) -> str:
    """Return the page of a response, which is complete and has the headers of all pages."""
    head, _, body = got.partition(b"\r\n\r\n")
    assert PAGE in head, got
    assert b"content-length: %d" % len(body) in head
    assert b"cache-control: no-store" in head
    assert b"script-src 'self'" in head
    assert b"x-frame-options: DENY" in head
    return body.decode()


@each_case("name", CASES)
def test_person_gets_a_page_if_the_head_was_read_as_far(served: Served, name: str) -> None:
    status, request = CASES[name]
    if HOST not in request:
        return
    got = send(served, request.replace(HOST, b"\r\n" + SHOWN[:-2] + HOST, 1))
    assert got.startswith(b"HTTP/1.1 %d " % status), got
    if DOCUMENT in got:
        assert name in WITHOUT_HEADERS, name
        return
    text = " ".join(re.sub("<.*?>", "", read_page(got)).split())
    assert f"Error {status}Copy" in text, "the request has no id"
    assert_accessible(read_page(got))
    assert DOCUMENT in send(served, request)


@pytest.mark.parametrize("shown", [b"", SHOWN])
@pytest.mark.parametrize("more", [b"Host: b\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nz\r\n"])
def test_rejection_of_head_has_no_content(served: Served, shown: bytes, more: bytes) -> None:
    """A proxy could take it for the response to another request (RFC 9110 section 9.3.2)"""
    got = send(served, b"HEAD /held HTTP/1.1\r\nHost: a\r\n" + shown + more)
    head, end, content = got.partition(b"\r\n\r\n")
    assert (head[:13], end, content) == (b"HTTP/1.1 400 ", b"\r\n\r\n", b"")


def test_page_is_in_the_language_of_the_browser(served: Served) -> None:
    cookies = b"Accept-Language: de\r\nCookie: " + b"x" * 70_000 + b"\r\n\r\n"
    page = read_page(send(served, GET[:-2] + cookies))
    assert_accessible(page, "de")
    assert "<h1>Zu viele Cookies</h1>" in page


def test_head_that_does_not_arrive_ends_with_a_page(served: Served) -> None:
    head = served.connect(GET[:-2])
    served.settle()
    served.advance(HEAD_TIME + 2)
    assert "That took too long" in read_page(read_all(head))


def test_bodies_that_take_too_much_memory_end_with_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODIES_SIZE", 1000)
    head = GET.replace(b"GET /x", b"POST /held")[:-2] + b"Content-Length: 900\r\n\r\n"
    with serving(Application()) as served:
        complete = served.connect(head + b"x" * 900)
        served.settle()
        later = served.connect(head.replace(SHOWN, b"") + b"x" * 200)
        assert "That took too long" in read_page(read_all(complete))
        later.sendall(b"x" * 600)
        too_large = served.connect(head.replace(b"900", b"9000") + b"x" * 2000)
        assert "That took too long" in read_page(read_all(too_large))
        assert DOCUMENT in read_all(later)


def test_request_is_not_taken_for_the_one_before(served: Served) -> None:
    """Nobody knows who reads the response to bytes that are no request."""
    client = served.connect(GET)
    read_response(client)
    client.sendall(b"\x16\x03\x01\r\n\r\n\r\n")
    assert DOCUMENT in read_all(client)


def test_oauth_clients_keep_their_format(served: Served, settings: Settings) -> None:
    settings.AUTHORIZATION_SERVER = object()
    request = CASES["two hosts"][1].replace(b" / ", b" /oauth/token ")
    got = send(served, request.replace(HOST, b"\r\n" + SHOWN[:-2] + HOST, 1))
    assert b"content-type: application/json" in got


def test_another_site_needs_no_setting_of_the_gateway(served: Served, settings: Settings) -> None:
    del settings.AUTHORIZATION_SERVER
    assert DOCUMENT in send(served, CASES["two hosts"][1].replace(b" / ", b" /oauth/token "))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Give a server without room for another connection."""
    monkeypatch.setattr(descriptors, "MOST", 1)
    with serving(Application()) as served:
        served.connect(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nh")
        served.settle()
        yield served


def test_page_of_a_full_server_reloads_itself_after_a_get_alone(full: Served) -> None:
    got = send(full, GET)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in got
    assert 'data-reload="5"' in read_page(got)
    posted = send(full, GET.replace(b"GET", b"POST"))
    assert posted.startswith(b"HTTP/1.1 503 ")
    assert "data-reload" not in read_page(posted)
    assert b"text/plain" in send(full, GET.replace(SHOWN, b""))


REJECTED = {  # under every server, by `rejections`
    "both framings": (400, "POST /x", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
    "method": (501, "TRACE /x", ""),
    "protocol": (501, "GET /x", "Connection: Upgrade\r\nUpgrade: irc\r\n"),
    "content type": (400, "POST /x", f"Content-Type: {'a' * 1025}\r\n"),
}


@pytest.fixture(scope="module")
def another_server() -> Iterator[Served]:
    application = importlib.import_module("gateway_site.asgi").application
    with serving(application, http="h11") as served:
        yield served


@each_case("name", REJECTED)
def test_page_of_a_rejection_under_another_server_has_the_id(
    another_server: Served, name: str
) -> None:
    status, line, fields = REJECTED[name]
    request = f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}"
    got = send(another_server, f"{request}{SHOWN.decode()}\r\n".encode())
    assert got.startswith(b"HTTP/1.1 %d " % status)
    (found,) = re.findall(rb"x-request-id: (\S+)", got)
    assert f"Error {status} (request {found.decode()})" in re.sub("<.*?>", "", read_page(got))
    assert DOCUMENT in send(another_server, f"{request}\r\n".encode())


def test_cookies_are_not_read_for_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading 64 KB of them would cost more than sending them."""
    read: list[object] = []

    def keep(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        read.extend(headers)
        return headers

    monkeypatch.setattr(own_cookies, "keep_own_cookies", keep)
    headers = [SHOWN_FIELD, (b"Cookie", b"a=b;" * 15_000)]
    scope = {"path": "/", "method": "", "scheme": "http", "headers": headers}
    assert prepared_pages().rejection(scope, 431)
    assert read == [SHOWN_FIELD]
    assert prepared_pages().rejection(scope, 418) is None, "no page was prepared"
