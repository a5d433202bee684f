"""The gateway's cookies under production's names: none that looks like one of them is."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages.storage.base import Message
from django.test import Client, RequestFactory
from pytest_django import Settings

from gateway_site.edge import own_cookies
from gateway_site.messages import MessageStorage
from tests.gateway_site.pages.test_headers import HOST, in_production
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.cookies.test_foreign import ODD, Ask, ask_asgi, ask_wsgi

__all__ = ["in_production"]

SENT = {"HTTP_HOST": HOST, "HTTP_X_FORWARDED_PROTO": "https"}
TOKEN = "a" * 32


def get(cookie: bytes, path: str = "/") -> Any:
    return Client().get(path, **SENT, HTTP_COOKIE=cookie.decode("latin-1"))  # type: ignore[arg-type]  # variables of WSGI


def disguised(name: bytes) -> list[bytes]:
    return [*(odd + name for odd in ODD), *(name + odd for odd in ODD)]


def test_session_of_somebody_else_cannot_be_planted(
    corp: FakeProvider, in_production: None
) -> None:
    attacker = Visitor()
    attacker.client = Client(headers={"host": HOST, "X-Forwarded-Proto": "https"})
    attacker.sign_in(corp)
    key = attacker.client.cookies["__Host-sessionid"].value.encode()
    assert b"Sign out" in get(b"__Host-sessionid=" + key).content
    for name in disguised(b"__Host-sessionid"):
        assert b"Sign out" not in get(name + b"=" + key).content, name
    twice = b"__Host-sessionid=" + key + b"; __Host-sessionid=" + key
    assert b"Sign out" not in get(twice).content


def test_message_of_somebody_else_cannot_be_planted(store: None, in_production: None) -> None:
    storage: Any = MessageStorage(RequestFactory().get("/"))
    text = storage._encode([Message(20, "Call this number")]).encode()
    assert b"Call this number" in get(b"__Host-messages=" + text).content
    for name in disguised(b"__Host-messages"):
        assert b"Call this number" not in get(name + b"=" + text).content, name


def test_csrf_token_of_somebody_else_cannot_be_planted(store: None, in_production: None) -> None:
    client = Client(enforce_csrf_checks=True)
    sent = {**SENT, "HTTP_ORIGIN": f"https://{HOST}", "HTTP_X_CSRFTOKEN": TOKEN}

    def status(name: bytes) -> int:
        cookie = (name + b"=" + TOKEN.encode()).decode("latin-1")
        return client.post("/accounts/logout/", **sent, HTTP_COOKIE=cookie).status_code  # type: ignore[arg-type]  # variables of WSGI

    assert status(b"__Host-csrftoken") == 302
    assert {status(name) for name in disguised(b"__Host-csrftoken")} == {403}


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_names_that_no_standard_allows_are_nobodys(ask: Ask, settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.sessions_kms.sites.pages"
    settings.MIDDLEWARE = ["gateway_site.edge.own_cookies.OwnCookiesMiddleware"]
    planted = b"f\xf6\xf6=1; [a]=2; bare; =3; a:b=4; _ga=5; \xa0gateway_sessionid=6"
    assert ask(planted, "/cookies/").json()[:3] == [{"_ga": "5"}, "_ga=5", "_ga=5"]


def test_names_are_those_of_the_present_settings(settings: Settings) -> None:
    for name in ("one", "another"):
        settings.SESSION_COOKIE_NAME = name
        twice = name.encode() + b"=1; " + name.encode() + b"=2; a=1"
        assert own_cookies.counting([(b"cookie", twice)]) == [(b"cookie", b"a=1")]


def test_no_middleware_of_others_is_outside_of_it(settings: Settings) -> None:
    place = settings.MIDDLEWARE.index("gateway_site.edge.own_cookies.OwnCookiesMiddleware")
    assert all(name.startswith("gateway_site.") for name in settings.MIDDLEWARE[:place])


def test_headers_of_a_call_keep_what_counts_however_a_server_spells_their_name() -> None:
    others = [(b"host", b"a"), (b"accept", b"*/*")]
    assert own_cookies.counting(others) is others
    kept = [*others, (b"cookie", b"a=1; b=2")]
    assert own_cookies.counting(kept) is kept
    for planted in ([(b"cookie", b"a=1; \xa0b=2")], [(b"Cookie", b"a=1"), (b"COOKIE", b"[b]=2")]):
        found = own_cookies.counting([*planted, *others])
        assert found == [*others, (b"cookie", b"a=1")]
        assert own_cookies.believed({"headers": found}) == {"a": "1"}
