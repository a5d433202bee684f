"""A sibling host sets cookies under names that Django takes for the site's own.

`evil.example.com` may set `\xa0__Host-sessionid` for `example.com`: to a browser that is another
name than `__Host-sessionid`, with none of its protection. Real servers get the header's bytes by
a raw socket here, as the victim's browser would send them.
"""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from http import cookies as python_cookies
from itertools import islice
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from sessions_kms.session import cookies
from tests.sessions_kms.sites import serving
from tests.sessions_kms.support.odd_cookies import ODD_BYTES, get_by_asgi
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock

OURS = "sessions_kms.middleware.StoreUnavailableMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
NAME = b"__Host-sessionid"

Serve = Callable[[], AbstractContextManager[int]]
Ask = Callable[[bytes, str], Any]
SERVERS: dict[str, Serve] = {
    "wsgi": serving.wsgi,
    "httptools": partial(serving.asgi, "httptools"),
    "h11": partial(serving.asgi, "h11"),
}


@pytest.fixture(autouse=True)
def site(settings: Settings, fake: Stack) -> None:
    settings.ROOT_URLCONF = "tests.sessions_kms.sites.pages"
    settings.MIDDLEWARE = [OURS, SESSION, CSRF]
    settings.SESSION_COOKIE_NAME = NAME.decode()
    settings.CSRF_COOKIE_NAME = "__Host-csrftoken"


@pytest.fixture(params=SERVERS)
def port(request: pytest.FixtureRequest, site: None) -> Iterator[int]:
    with SERVERS[request.param]() as port:
        yield port


def session_of(person: str) -> bytes:
    session = save_session(name=person)
    return str(session.session_key).encode()


def fetch(port: int, *cookies: bytes, path: str = "/read/", more: bytes = b"") -> bytes:
    """Send a request with these Cookie headers as they are; give all that comes back."""
    method = b"POST" if more else b"GET"
    request = [method + b" " + path.encode() + b" HTTP/1.0", b"Host: localhost"]
    request += [b"Cookie: " + cookie for cookie in cookies]
    request += [b"Content-Length: 0", *([more] if more else [])]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\r\n".join(request) + b"\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def disguises(name: bytes) -> Iterator[bytes]:
    for odd in ODD_BYTES:
        yield from (
            odd + name,
            name + odd,
            odd + name + odd,
            odd + b" " + name,
            b"a=1;" + odd + name,
        )


def a_third_of_disguises(name: bytes) -> Iterator[bytes]:
    """Yield some with each odd space, and some at each of its places."""
    return islice(disguises(name), 0, None, 3)


def test_disguised_session_cookie_opens_no_session(port: int) -> None:
    attackers = session_of("mallory")
    assert b"name=mallory" in fetch(port, NAME + b"=" + attackers)
    responses = {name: fetch(port, name + b"=" + attackers) for name in disguises(NAME)}
    assert [name for name, found in responses.items() if b"mallory" in found] == []
    passed = {name for name, found in responses.items() if b"name=None" in found}
    assert {b"\x85" + NAME, NAME + b"\xa0", b"\xe3\x80\x80" + NAME} <= passed


def test_disguised_session_cookie_does_not_replace_the_own_session(port: int) -> None:
    attackers, hers = session_of("mallory"), NAME + b"=" + session_of("ada")
    for name in a_third_of_disguises(NAME):
        planted = name + b"=" + attackers
        for cookie in (planted + b"; " + hers, hers + b"; " + planted):
            found = fetch(port, cookie)
            assert b"name=ada" in found or b" 400 " in found.splitlines()[0], cookie


def test_disguised_csrf_cookie_is_ignored(port: int) -> None:
    token = b"a" * 32
    header = b"X-CSRFToken: " + token
    assert b"name=None" in fetch(port, b"__Host-csrftoken=" + token, more=header)
    for name in a_third_of_disguises(b"__Host-csrftoken"):
        status = fetch(port, name + b"=" + token, more=header).splitlines()[0]
        assert b" 403 " in status or b" 400 " in status, name


def test_session_cookie_sent_twice_is_ignored(port: int) -> None:
    attackers, hers = session_of("mallory"), session_of("ada")
    pairs = NAME + b"=" + hers, NAME + b"=" + attackers
    for cookie in (b"; ".join(pairs), b";".join(reversed(pairs)), b"; a=1; ".join(pairs)):
        assert b"name=None" in fetch(port, cookie), cookie


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_cookies_in_headers_of_their_own_are_joined_as_one(http: str) -> None:
    """So HTTP/2 splits them (RFC 9113, section 8.2.3)."""
    attackers, hers = session_of("mallory"), session_of("ada")
    with SERVERS[http]() as port:
        assert b"name=ada" in fetch(port, b"a=1", NAME + b"=" + hers, b"b=2")
        twice = fetch(port, NAME + b"=" + hers, NAME + b"=" + attackers)
        assert b"name=None" in twice
        planted = fetch(port, b"\xa0" + NAME + b"=" + attackers, NAME + b"=" + hers)
        assert b"name=ada" in planted


def ask_wsgi(cookie: bytes, path: str) -> Any:
    return Client().get(path, HTTP_COOKIE=cookie.decode("latin-1"))


def ask_server(serve: Serve, cookie: bytes) -> Any:
    """Give what a server's page could read of the request's cookies."""
    with serve() as port:
        found = fetch(port, cookie, path="/cookies/")
    return json.loads(found[found.index(b"[") : found.rindex(b"]") + 1])


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("earlier", [[], ["tests.sessions_kms.sites.middlewares.reads_cookies"]])
def test_dropped_cookies_are_read_by_nothing(
    server: str, earlier: list[str], settings: Settings
) -> None:
    settings.MIDDLEWARE = [*earlier, OURS]
    cookie = b"a=1; \xa0__Host-sessionid=planted; b=2; __Secure-x=planted; __Secure-x=planted"
    found = ask_server(SERVERS[server], cookie)
    assert found[:3] == [{"a": "1", "b": "2"}, "a=1; b=2", "a=1; b=2"]
    assert "planted" not in str(found)


@pytest.mark.parametrize("ask", [ask_wsgi, get_by_asgi])
def test_names_of_a_site_without_prefixes_are_its_own_too(ask: Ask, settings: Settings) -> None:
    settings.MIDDLEWARE = [OURS]
    settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME = "sid", "csrf"
    cookie = b"\xa0sid=1; csrf\xa0=2; \x85messages=3; [other]=4; sid=5"
    assert ask(cookie, "/cookies/").json()[0] == {"[other]": "4", "sid": "5"}


@pytest.mark.parametrize("server", SERVERS)
def test_cookies_that_all_count_are_left_as_they_came(server: str, settings: Settings) -> None:
    cookie = b'a=1;b="x\\054y";  f\xc3\xb6\xc3\xb6=\xa0; bare; \xa0=; a=2'
    settings.MIDDLEWARE = []
    untouched = ask_server(SERVERS[server], cookie)
    settings.MIDDLEWARE = [OURS]
    assert ask_server(SERVERS[server], cookie) == untouched


@pytest.mark.parametrize("server", SERVERS)
def test_no_cookie_is_decoded_by_python(
    server: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some releases take minutes for one, but other apps' cookies must still arrive."""

    def decode(value: str) -> str:
        raise AssertionError(value)

    settings.MIDDLEWARE = [OURS]
    monkeypatch.setattr(python_cookies, "_unquote", decode)
    decoded, *_ = ask_server(SERVERS[server], b'a="x\\054y\\"z"; b="\\"; f\xc3\xb6="\xa0"; a.b=1')
    name, blank = ("f\xc3\xb6", "\xa0") if server != "wsgi" else ("f\xf6", "\ufffd")
    assert decoded == {"a": 'x,y"z', "b": "\\", name: blank, "a.b": "1"}


@pytest.mark.parametrize("ask", [ask_wsgi, get_by_asgi])
def test_cookie_sent_twice_is_logged_once_a_minute_without_its_value(
    ask: Ask,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    clock: FakeClock,
) -> None:
    settings.SESSION_COOKIE_NAME = "sessionid"
    monkeypatch.setattr(cookies, "duplicates_gate", cookies.MinuteGate(clock))
    keys = session_of("ada"), session_of("grace")
    cookie = b"sessionid=" + keys[0] + b"; sessionid=" + keys[1]
    for _ in range(3):
        # As Django has it: a changed domain leaves two of them for weeks.
        assert ask(cookie, "/read/").content == b"name=grace"
    (warning,) = messages(caplog)
    assert ": sessionid. " in warning
    assert not any(key.decode() in caplog.text for key in keys)
    clock.advance(cookies.MINUTE)
    ask(cookie, "/read/")
    assert len(messages(caplog)) == 2
    ask(b"sessionid=" + keys[0] + b"; other=1; other=2", "/read/")
    assert len(messages(caplog)) == 2


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [each.getMessage() for each in caplog.records if each.name == "sessions_kms"]
    return [each for each in told if "twice" in each]  # an earlier test's outage ends here, too
