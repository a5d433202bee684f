"""The gateway's cookies under production's names: no others are decoded, nor taken for them."""

from http import cookies as python_cookies
from typing import Any

import pytest
from django.contrib.messages.storage.base import Message
from django.test import Client, RequestFactory
from pytest_django import Settings

from gateway_site.edge import own_cookies
from gateway_site.edge.messages import MessageStorage
from tests.gateway_site.conftest import in_production
from tests.gateway_site.support.hosts import HOST
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.odd_cookies import ODD_BYTES, get_by_asgi

__all__ = ["in_production"]

SENT = {"HTTP_HOST": HOST, "HTTP_X_FORWARDED_PROTO": "https"}
TOKEN = "a" * 32


def get(cookie: bytes, path: str = "/") -> Any:
    return Client().get(path, **SENT, HTTP_COOKIE=cookie.decode("latin-1"))  # type: ignore[arg-type]  # variables of WSGI


def disguises(name: bytes) -> list[bytes]:
    return [*(odd + name for odd in ODD_BYTES), *(name + odd for odd in ODD_BYTES)]


def test_foreign_session_cannot_be_planted(corp: FakeProvider, in_production: None) -> None:
    attacker = Visitor()
    attacker.client = Client(headers={"host": HOST, "X-Forwarded-Proto": "https"})
    attacker.sign_in(corp)
    key = attacker.client.cookies["__Host-sessionid"].value.encode()
    assert b"Sign out" in get(b"__Host-sessionid=" + key).content
    for name in disguises(b"__Host-sessionid"):
        assert b"Sign out" not in get(name + b"=" + key).content, name
    twice = b"__Host-sessionid=" + key + b"; __Host-sessionid=" + key
    assert b"Sign out" not in get(twice).content


def test_foreign_message_cannot_be_planted(store: None, in_production: None) -> None:
    storage: Any = MessageStorage(RequestFactory().get("/"))
    text = storage._encode([Message(20, "Call this number")]).encode()
    assert b"Call this number" in get(b"__Host-messages=" + text).content
    for name in disguises(b"__Host-messages"):
        assert b"Call this number" not in get(name + b"=" + text).content, name


def test_foreign_csrf_token_cannot_be_planted(store: None, in_production: None) -> None:
    client = Client(enforce_csrf_checks=True)
    sent = {**SENT, "HTTP_ORIGIN": f"https://{HOST}", "HTTP_X_CSRFTOKEN": TOKEN}

    def status(name: bytes) -> int:
        cookie = (name + b"=" + TOKEN.encode()).decode("latin-1")
        return client.post("/accounts/logout/", **sent, HTTP_COOKIE=cookie).status_code  # type: ignore[arg-type]  # variables of WSGI

    assert status(b"__Host-csrftoken") == 302
    assert {status(name) for name in disguises(b"__Host-csrftoken")} == {403}


def test_cookies_of_others_are_skipped(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.sessions_kms.sites.pages"
    settings.MIDDLEWARE = ["gateway_site.edge.own_cookies.OwnCookiesMiddleware"]
    planted = b"f\xf6\xf6=1; [a]=2; bare; =3; a:b=4; _ga=5; \xa0gateway_sessionid=6"
    own = rb'gateway_csrftoken="a\054\"b"; gateway_messages=\"'
    found = get_by_asgi(planted + b"; " + own, "/cookies/").json()
    header = own.decode()
    decoded = {"gateway_csrftoken": 'a,"b', "gateway_messages": '\\"'}
    assert found[:3] == [decoded, header, header]


@pytest.mark.parametrize("path", ["/", "/livez", "/accounts/login/", "/gateway/", "/gateway/x/y"])
def test_no_cookie_is_decoded_by_python(
    path: str, store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some releases take minutes for one."""

    def decode(value: str) -> str:
        raise AssertionError(value)

    monkeypatch.setattr(python_cookies, "_unquote", decode)
    for name in ("x", "gateway_sessionid", "gateway_csrftoken", "gateway_messages"):
        assert get_by_asgi(f'{name}="\\"'.encode(), path).status_code != 500


@pytest.mark.parametrize("name", ["gateway_sessionid", "gateway_signed-out", "gateway_logout"])
def test_cookie_of_more_than_4_kilobytes_is_absent(name: str, settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.sessions_kms.sites.pages"
    settings.MIDDLEWARE = ["gateway_site.edge.own_cookies.OwnCookiesMiddleware"]
    longest = "x" * (4096 - len(name))
    assert get_by_asgi(f"{name}={longest}".encode(), "/cookies/").json()[0] == {name: longest}
    assert get_by_asgi(f"{name}={longest}x; a=1".encode(), "/cookies/").json()[:3] == [{}, "", ""]
    both = f"{name}={longest}x; {name}=1".encode()
    assert get_by_asgi(both, "/cookies/").json()[0] == {name: "1"}


def test_no_middleware_of_others_is_outside_of_it(settings: Settings) -> None:
    place = settings.MIDDLEWARE.index("gateway_site.edge.own_cookies.OwnCookiesMiddleware")
    assert all(name.startswith("gateway_site.") for name in settings.MIDDLEWARE[:place])


def test_headers_are_recognised_in_any_spelling_of_the_server() -> None:
    others = [(b"host", b"a"), (b"accept", b"*/*")]
    assert own_cookies.keep_own_cookies(others) is others
    own = b"gateway_sessionid=1"
    kept = [*others, (b"cookie", own + b"; gateway_csrftoken=2")]
    assert own_cookies.keep_own_cookies(kept) is kept
    for planted in (
        [(b"cookie", own + b"; \xa0gateway_csrftoken=2")],
        [(b"Cookie", own), (b"COOKIE", b"[b]=2")],
    ):
        found = own_cookies.keep_own_cookies([*planted, *others])
        assert found == [*others, (b"cookie", own)]
        assert own_cookies.decode_cookies(found) == {"gateway_sessionid": "1"}
