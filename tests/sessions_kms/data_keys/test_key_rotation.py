"""Ten requests of a page with the old cookie, at once, after the SECRET_KEY was replaced.

Django changes the session key in each of them. Over real HTTP, from sockets of their own.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from http.cookies import SimpleCookie

import pytest
from django.conf import settings as live_settings
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.sessions_kms.sites import serving
from tests.sessions_kms.support.key_browser import ADA, MIDDLEWARE, TOGETHER, signed_in_content
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack

OLD_SECRET = "the-former-secret-key-of-this-site-0123456789-abcdefghij"


@pytest.fixture
def port(settings: Settings, fake: Stack, caplog: pytest.LogCaptureFixture) -> Iterator[int]:
    settings.ROOT_URLCONF = "tests.sessions_kms.support.key_browser"
    settings.MIDDLEWARE = MIDDLEWARE
    settings.SESSION_COOKIE_SECURE = False
    settings.AUTHENTICATION_BACKENDS = ["tests.sessions_kms.support.key_browser.InMemory"]
    caplog.set_level(logging.CRITICAL)
    with serving.asgi() as served:
        yield served


def get(port: int, page: str, cookies: dict[str, str]) -> tuple[int, str, SimpleCookie]:
    """Send a request over a new connection; return status, body and cookies."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
        connection.request("GET", f"/{page}/", headers={"Cookie": sent})
        response = connection.getresponse()
        told = SimpleCookie()
        for value in response.msg.get_all("Set-Cookie") or []:
            told.load(value)
        return response.status, response.read().decode(), told
    finally:
        connection.close()


def receive_cookies(cookies: dict[str, str], told: SimpleCookie) -> None:
    for name, cookie in told.items():
        if cookie.value:
            cookies[name] = cookie.value
        else:
            cookies.pop(name, None)


@pytest.mark.slow
def test_ten_concurrent_requests_after_a_secret_key_rotation_keep_the_user_signed_in(
    settings: Settings, port: int
) -> None:
    with_old = User(pk=int(ADA), password="hashed")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD_SECRET, []
    content = signed_in_content(with_old)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD_SECRET[::-1], [OLD_SECRET]
    for _ in range(4):
        session = save_session(**content)
        jar = {live_settings.SESSION_COOKIE_NAME: str(session.session_key)}
        with ThreadPoolExecutor(TOGETHER) as pool:
            jars = [dict(jar) for _ in range(TOGETHER)]
            responses = list(pool.map(partial(get, port, "get_user_together"), jars))
        # More of the page's requests come as late as that the key is changed.
        responses += [get(port, "view", dict(jar)) for _ in range(3)]
        assert sorted({status for status, _, _ in responses}) == [200, 503]
        assert [body for status, body, _ in responses if status == 200] == [ADA]
        for first in range(len(responses)):  # Whichever comes last, its cookies stay.
            mine = dict(jar)
            for _, _, told in responses[first:] + responses[:first]:
                receive_cookies(mine, told)
            assert get(port, "view", mine)[:2] == (200, ADA)
