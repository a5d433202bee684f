"""Calls of an upstream through a running gateway."""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import partial
from http.cookies import SimpleCookie
from urllib.parse import quote

import psutil
import pytest
import requests

from tests.gateway_site.support.gateways import TOKEN, Gateway
from tests.gateway_site.support.problems import assert_problem
from tests.support.cases import each_case
from tests.support.waiting import wait_until


def test_call_reaches_the_upstream_with_the_token(gateway: Gateway) -> None:
    response = gateway.get("echo/a/b%20c?q=1&r=%5B")
    got = response.json()
    assert (got["method"], got["path"], got["query"]) == ("GET", "/a/b%20c", "q=1&r=%5B")
    assert dict(got["headers"])["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        ("echo", "/"),
        ("echo/", "/"),
        ("deep", "/v1/x"),
        ("deep/", "/v1/x/"),
        ("deep/y/", "/v1/x/y/"),
        ("echo/users/@me/calendars/ada@example.com/events:batch", None),
        ("echo/%E2%82%AC/caf%C3%A9", None),
        ("narrow/user", None),
        ("narrow/repos/a/b", None),
    ],
)
def test_path_is_forwarded_unchanged(gateway: Gateway, path: str, reached: str | None) -> None:
    expected = reached or "/" + path.partition("/")[2]
    assert gateway.get(path).json()["path"] == expected


@pytest.mark.parametrize("path", ["narrow/users", "narrow/", "narrow", "narrow/repos2/a"])
def test_unknown_upstream_path_is_not_found(gateway: Gateway, path: str) -> None:
    assert_problem(gateway.get(path), 404, "unknown_path")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_body_is_forwarded_with_the_same_framing(
    gateway: Gateway, method: str, chunked: bool
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one,"
        yield b"two"

    with gateway.writer() as client:
        response = client.request(
            method,
            f"{gateway.url}/gateway/echo/x",
            data=pieces() if chunked else b"one,two",
            headers={"Content-Type": "text/plain"},
            timeout=10,
        )
    got = response.json()
    headers = dict(got["headers"])
    assert (got["method"], got["body"]) == (method, "one,two")
    assert headers["content-type"] == "text/plain"
    framing = ("transfer-encoding", "chunked") if chunked else ("content-length", "7")
    assert framing in headers.items()
    assert ("content-length" in headers) != ("transfer-encoding" in headers)


def test_form_is_not_read_by_the_gateway(gateway: Gateway) -> None:
    with gateway.writer() as client:
        form = {"csrfmiddlewaretoken": "x", "a": "1"}
        response = client.post(f"{gateway.url}/gateway/echo/x", data=form, timeout=10)
    assert response.json()["body"] == "csrfmiddlewaretoken=x&a=1"


def test_multipart_body_is_forwarded_unchanged(gateway: Gateway) -> None:
    with gateway.writer() as client:
        response = client.post(
            f"{gateway.url}/gateway/echo/x", files={"f": ("n", b"content")}, timeout=10
        )
    got = response.json()
    boundary = dict(got["headers"])["content-type"].partition("boundary=")[2]
    assert got["body"].startswith(f"--{boundary}\r\n")
    assert "content" in got["body"]


def test_head_has_the_headers_and_no_body(gateway: Gateway) -> None:
    with gateway.client() as client:
        url = f"{gateway.url}/gateway/echo/download?size=1000&length"
        response = client.head(url, timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Length"] == "1000"
    assert response.content == b""


@pytest.mark.parametrize("status", [204, 304])
def test_response_without_body_ends_properly(gateway: Gateway, status: int) -> None:
    headers = json.dumps([["etag", '"1"'], ["content-length", "0"]])
    with gateway.client() as client:
        for _ in range(2):  # the connection is good for another request
            response = client.get(
                f"{gateway.url}/gateway/echo/answer",
                params={"status": str(status), "headers": headers},
                timeout=10,
            )
            assert (response.status_code, response.content) == (status, b"")
            assert response.headers["ETag"] == '"1"'


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_response_without_body_has_no_length(gateway: Gateway, status: str) -> None:
    """A client that believed it would read the start of the next response as this one's body."""
    sent = f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n'
    gateway.canned.responses["/bodiless"] = sent.encode()
    response = gateway.get("canned/bodiless")
    assert response.headers["ETag"] == '"1"'
    assert "Content-Length" not in response.headers


def test_compressed_response_stays_as_it_is(gateway: Gateway) -> None:
    headers = json.dumps([["content-encoding", "gzip"], ["content-type", "text/plain"]])
    gateway_response = gateway.raw(
        b"GET /gateway/echo/answer?body=not-really-gzip&headers="
        + quote(headers).encode()
        + b" HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nConnection: close\r\n\r\n"
    )
    assert b"content-encoding: gzip" in gateway_response
    assert b"not-really-gzip" in gateway_response


def test_errors_of_the_upstream_pass(gateway: Gateway) -> None:
    for status in (400, 403, 404, 418, 429, 500, 503):
        response = gateway.get(f"echo/answer?status={status}&body=mine")
        assert (response.status_code, response.text) == (status, "mine")


def test_continue_is_sent_only_when_the_body_is_wanted(gateway: Gateway) -> None:
    with gateway.writer() as client:
        token, cookie = client.headers["X-CSRFToken"], client.cookies["gateway_csrftoken"]
    head = (
        b"POST /gateway/%b HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nX-CSRFToken: "
        + str(token).encode()
        + b"\r\nContent-Length: 5000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    extra = f"; gateway_csrftoken={cookie}"
    refused = gateway.raw(head % b"small/x", cookie=extra)
    assert refused.startswith(b"HTTP/1.1 413 ")
    taken = gateway.raw(head % b"echo/x" + b"y" * 5000, cookie=extra)
    assert taken.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert b"HTTP/1.1 200 OK" in taken
    assert b"expect" not in taken.lower().partition(b"\r\n\r\n")[2]


# Failures


@pytest.mark.parametrize("upstream", ["dead", "named"])  # by address, and by name
def test_call_without_a_descriptor_left_is_busy_and_no_failure_of_the_upstream(
    gateway: Gateway, upstream: str
) -> None:
    with gateway.client() as client:
        call = partial(client.get, f"{gateway.url}/gateway/{upstream}/x", timeout=20)
        assert_problem(call(), 502, "upstream_failed")
        usual = gateway.process.rlimit(psutil.RLIMIT_NOFILE)
        # No more than the standard streams: nothing can be opened. The client's connection is.
        gateway.process.rlimit(psutil.RLIMIT_NOFILE, (3, usual[1]))
        try:
            response = call()
        finally:
            gateway.process.rlimit(psutil.RLIMIT_NOFILE, usual)
        assert response.status_code == 503, response.text
        # The user is cached for two seconds. Once these are over, the database cannot be opened.
        assert response.json()["code"] in {"busy", "database_unavailable"}
        assert int(response.headers["Retry-After"]) > 0
        assert_problem(call(), 502, "upstream_failed")


@each_case(
    "response",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=[
        "nothing",
        "nonsense",
        "999",
        "101",
        "two lengths",
        "bare CR",
        "control",
        "DEL",
        "odd",
        "huge",
    ],
)
def test_response_that_is_not_http_is_a_bad_gateway(gateway: Gateway, response: bytes) -> None:
    gateway.canned.responses["/odd"] = response
    assert_problem(gateway.get("canned/odd"), 502, "upstream_failed")


@pytest.mark.parametrize("framing", ["", "?length"])
def test_response_that_breaks_off_is_not_ended_cleanly(gateway: Gateway, framing: str) -> None:
    with gateway.client() as client:
        url = f"{gateway.url}/gateway/echo/half{framing}"
        with client.get(url, stream=True, timeout=10) as response:
            assert response.raw.read(4) == b"half"
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(response.iter_content(100))


def test_response_that_stalls_is_aborted(gateway: Gateway) -> None:
    with (
        gateway.client() as client,
        client.get(f"{gateway.url}/gateway/hasty/half?silent", stream=True, timeout=10) as response,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        list(response.iter_content(100))


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_too_large_body_is_rejected(gateway: Gateway, chunked: bool) -> None:
    body = b"x" * 1001
    with gateway.writer() as client:
        response = client.post(
            f"{gateway.url}/gateway/small/upload",
            data=iter([body]) if chunked else body,
            timeout=10,
        )
    assert_problem(response, 413, "too_large")


def test_too_many_calls_of_one_person_are_refused(gateway: Gateway) -> None:
    """In whichever session: everybody can sign in as often as they like."""
    url = f"{gateway.url}/gateway/small/events"
    with (
        gateway.client(1) as one,
        gateway.client(2) as same,
        gateway.client(-1) as another,
        one.get(url, stream=True, timeout=10),
        same.get(url, stream=True, timeout=10),
    ):
        for client in (one, same):
            response = client.get(url, stream=True, timeout=10)
            assert_problem(response, 429, "too_many_calls")
            assert response.headers["Retry-After"] == "1"
        assert another.get(f"{gateway.url}/gateway/small/x", timeout=10).status_code == 200
    # Who goes at once is missed a moment later: no call has a watcher from its beginning.
    wait_until(lambda: gateway.control("slots") == "0", "the calls are over")


# An upstream's 401


def test_refused_token_is_refreshed_once_and_the_call_made_again(gateway: Gateway) -> None:
    body = b"x" * 65536
    with gateway.writer() as client:
        url = f"{gateway.url}/gateway/echo/guarded?token={TOKEN}-2"
        response = client.post(url, data=body, timeout=10)
    assert response.status_code == 200
    assert hashlib.sha256(response.content).digest() == hashlib.sha256(body).digest()


def test_refresh_renews_the_cookie_with_the_response(gateway: Gateway) -> None:
    path = f"echo/guarded?token={TOKEN}-2"
    assert "Set-Cookie" not in gateway.get(path).headers
    response = gateway.get(path, headers={"X-Test-Refresh": "stored"})
    assert response.status_code == 200
    assert_renewed(response, gateway.keys[0])


def test_refresh_renews_the_cookie_though_the_call_fails(gateway: Gateway) -> None:
    response = gateway.get("dead/x", headers={"X-Test-Refresh": "due"})
    assert_problem(response, 502, "upstream_failed")
    assert_renewed(response, gateway.keys[0])


def assert_renewed(response: requests.Response, key: str) -> None:
    cookie = SimpleCookie(response.headers["Set-Cookie"])["gateway_sessionid"]
    assert cookie.value == key
    assert (int(cookie["max-age"]) > 0, cookie["httponly"]) == (True, True)


def test_second_401_is_passed_on(gateway: Gateway) -> None:
    before = gateway.state().get("refused", 0)
    response = gateway.get("echo/guarded?token=another")
    assert (response.status_code, response.text) == (401, "refused")
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert gateway.state()["refused"] == before + 2


def test_401_to_an_unrepeatable_body_is_passed_on(gateway: Gateway) -> None:
    before = gateway.state().get("refused", 0)
    with gateway.writer() as client:
        url = f"{gateway.url}/gateway/echo/guarded?token={TOKEN}-2"
        response = client.post(url, data=b"x" * 65537, timeout=10)
    assert (response.status_code, response.text) == (401, "refused")
    assert gateway.state()["refused"] == before + 1


def test_nothing_of_a_token_is_in_the_log(gateway: Gateway) -> None:
    gateway.get("dead/x")
    log = gateway.read_log()
    assert re.search(r"Upstream dead at http://127\.0\.0\.1:\d+ failed: ConnectError\.", log)
    assert TOKEN not in log
    assert gateway.keys[0] not in log
