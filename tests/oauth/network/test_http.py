"""A request to a provider is bounded in time and size, and its errors say nothing."""

import logging
import socket
import threading
import traceback

import pytest
import requests

from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.network.vetted_addresses import ANYWHERE
from oauth.sign_in import oauth2_adapter
from tests.oauth.support.raw_responses import BAD, HEAD, say, serving_bytes
from tests.support.cases import each_case

SECRET = "canary-in-the-form"


def test_response_is_read() -> None:
    with serving_bytes(say(HEAD + b"Content-Length: 9\r\n\r\n", b'{"a": 1}\n')) as url:
        response = http.post(url, {"a": SECRET}, {}, reach=ANYWHERE)
    assert (response.status, response.media_type, response.parse()) == (
        200,
        "application/json",
        {"a": 1},
    )


@pytest.mark.parametrize("what", BAD)
def test_invalid_response_fails_in_time(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some never end; without the time limit this would not either."""
    monkeypatch.setattr(http, "POST_TIMEOUT", 3600.0)
    with serving_bytes(BAD[what]) as url, pytest.raises(ProviderUnavailable) as caught:
        http.post(
            url, {"refresh_token": SECRET}, {"Authorization": SECRET}, reach=ANYWHERE, timeout=0.4
        )
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_slow_name_lookup_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_of_test, was_told = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> None:
        if not end_of_test.wait(60):
            was_told.set()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        with pytest.raises(ProviderUnavailable):
            http.post("https://provider.example/token", {}, {}, timeout=0.2)
        assert not was_told.is_set()
    finally:
        end_of_test.set()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://[/", "ftp://127.0.0.1/", "", "http://"]
)
def test_unreachable_address_raises_provider_unavailable(url: str) -> None:
    with pytest.raises(ProviderUnavailable):
        http.post(url, {}, {}, reach=ANYWHERE)


def test_query_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx2")  # which the settings keep quiet
    with serving_bytes(say(HEAD + b"Content-Length: 2\r\n\r\n{}")) as url:
        assert http.get(f"{url}?client_secret={SECRET}", reach=ANYWHERE).parse() == {}
    assert f"GET {url} " in caplog.text
    assert SECRET not in caplog.text


def test_cookies_and_redirects_of_a_provider_are_ignored() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nSet-Cookie: a=b\r\n"
    with serving_bytes(say(head + b"Content-Length: 0\r\n\r\n")) as url:
        assert http.get(url, reach=ANYWHERE).status == 302


@each_case("body", [b"", b"[]", b"7", b"null", b"{", b"\xff", b"[" * 100_000])
def test_body_that_is_not_an_object_is_rejected(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be parsed"):
        ProviderResponse(200, "application/json", body).parse()


def test_form_is_read_as_github_writes_it() -> None:
    response = ProviderResponse(
        200, "application/x-www-form-urlencoded", b"access_token=a&scope=b%2Cc"
    )
    assert response.parse_tokens() == {"access_token": "a", "scope": "b,c"}


@each_case(
    ("response", "error"),
    [
        (
            ProviderResponse(200, "application/json", b'{"error": "bad_verification_code"}'),
            ProviderRefused,
        ),
        (ProviderResponse(400, "application/json", b'{"error": "invalid_grant"}'), ProviderRefused),
        (ProviderResponse(403, "application/json", b"{}"), ProviderRefused),
        (ProviderResponse(400, "text/html", b"<html>"), ProviderUnavailable),
        (ProviderResponse(302, "", b""), ProviderUnavailable),
        (ProviderResponse(429, "application/json", b"{}"), ProviderUnavailable),
        (ProviderResponse(503, "application/json", b"{}"), ProviderUnavailable),
    ],
)
def test_response_without_tokens_is_an_error(
    response: ProviderResponse, error: type[Exception]
) -> None:
    with pytest.raises(error):
        response.parse_tokens()


def test_body_is_not_in_the_repr() -> None:
    assert "canary" not in repr(ProviderResponse(200, "text/plain", b"canary"))


def test_no_request_gets_the_response_to_another() -> None:
    """The provider keeps connections open, and says more on them than it was asked for."""
    ends: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        with connection:
            while connection.recv(65536):
                response = HEAD + b'Content-Length: 7\r\n\r\n{"n":%d}' % number
                connection.sendall(response + response)
        ends.append(number)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/token"

        def accept() -> None:
            for number in range(3):
                serve(listener.accept()[0], number)

        thread = threading.Thread(target=accept)
        thread.start()
        told = [http.post(url, {}, {}, reach=ANYWHERE), http.get(url, reach=ANYWHERE)]
        session = oauth2_adapter.mount_bounded_adapter(requests.Session(), ANYWHERE)
        told_by_allauth = session.get(url, timeout=20)
        thread.join(20)
    assert [response.parse()["n"] for response in told] == [0, 1]
    assert told_by_allauth.json() == {"n": 2}
    assert ends == [0, 1, 2]  # each closed by who asked, before the next was made
