"""Responses of a provider that is down or sends nonsense."""

from collections.abc import Callable
from threading import Event
from typing import Any

from tests.oauth.support.fake_provider import FakeProvider, Response

CANARY = "canary-in-the-body-of-the-answer"

DISCOVERY = "/.well-known/openid-configuration"


def respond_with(
    status: int, body: bytes, kind: str = "application/json"
) -> Callable[[], Response]:
    return lambda: (status, kind, body)


def stall(provider: FakeProvider, path: str) -> tuple[Event, Event]:
    """Have requests to a path set the first event, and wait for the second."""
    is_reached, may_continue = Event(), Event()

    def wait() -> None:
        is_reached.set()
        assert may_continue.wait(30)

    provider.hooks[path] = wait
    return is_reached, may_continue


def assert_provider_is_down(response: Any) -> None:
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    page = response.content.decode()
    assert "Corp cannot be reached" in page
    assert 'href="/accounts/login/"' in page
    assert CANARY not in page


NONSENSE = {
    "not found": respond_with(404, b"{}"),
    "server error": respond_with(500, CANARY.encode()),
    "redirect": respond_with(302, b"", "http://127.0.0.1:9/"),
    "redirect with an answer": respond_with(302, b'{"sub": "1001"}', "http://127.0.0.1:9/"),
    "no json": respond_with(200, f"<html>{CANARY}".encode(), "text/html"),
    "a list": respond_with(200, b"[]"),
    "a number": respond_with(200, b"7"),
    "null": respond_with(200, b"null"),
    "a text": respond_with(200, b'"text"'),
    "no UTF-8": respond_with(200, b'{"issuer": "\xff\xfe"}'),
    "huge": respond_with(200, b'{"x": "%s"}' % (b"x" * 300_000)),
    "empty": respond_with(200, b""),
    "an object without anything": respond_with(200, b"{}"),
    "deep": respond_with(200, b"[" * 100_000),
}
