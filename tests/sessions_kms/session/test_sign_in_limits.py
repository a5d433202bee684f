"""The absolute timeout through Django's own login and SessionMiddleware: when it restarts."""

from typing import Any

import pytest
from django.contrib.auth import alogin, get_user_model, logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory
from pytest_django import Settings

from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.browser import BACKEND, Browser, View, sign_in_view
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.django_db
START = 1_800_000_000
IDLE = 1000
ABSOLUTE = 5000


@pytest.fixture
def stack(make_fake: MakeStack, settings: Settings) -> Stack:
    settings.SESSION_COOKIE_AGE = IDLE
    return make_fake(absolute_timeout=ABSOLUTE)


@pytest.fixture
def ada() -> User:
    return make_user("ada")


@pytest.fixture
def grace() -> User:
    return make_user("grace")


def make_user(name: str) -> User:
    user: User = get_user_model().objects.create_user(name, password="correct horse")
    return user


@pytest.fixture
def browser(settings: Settings) -> Browser:
    return Browser(settings)


def change(request: HttpRequest) -> None:
    request.session["visits"] = request.session.get("visits", 0) + 1


def change_expiry(expiry: int) -> View:
    def view(request: HttpRequest) -> None:
        change(request)
        request.session.set_expiry(expiry)

    return view


def end_times(stack: Stack) -> tuple[int, int]:
    """Give when the one session was created and when it ends, from its START."""
    (item,) = stack.sessions().values()
    return int(item["createdAt"]["N"]) - START, int(item["ttl"]["N"]) - START


def test_cookie_lives_as_long_as_the_session(stack: Stack, browser: Browser) -> None:
    browser.visit(change)
    assert (browser.max_age, end_times(stack)) == (IDLE, (0, IDLE))
    for _ in range(5):
        stack.clock.advance(900)
        browser.visit(change)
    assert (browser.max_age, end_times(stack)) == (500, (0, ABSOLUTE))


def test_sign_in_restarts_the_limit_of_an_anonymous_session(
    stack: Stack, browser: Browser, ada: User
) -> None:
    browser.visit(change_expiry(10**6))
    stack.clock.advance(600)
    before = browser.key
    browser.visit(sign_in_view(ada))
    assert browser.key != before
    assert (browser.max_age, end_times(stack)) == (ABSOLUTE, (600, 600 + ABSOLUTE))


def test_sign_in_without_a_session_starts_the_limit(
    stack: Stack, browser: Browser, ada: User
) -> None:
    browser.visit(sign_in_view(ada))
    assert end_times(stack) == (0, IDLE)


def test_sign_in_of_another_user_restarts_the_limit(
    stack: Stack, browser: Browser, ada: User, grace: User
) -> None:
    browser.visit(sign_in_view(ada))
    stack.clock.advance(600)
    browser.visit(sign_in_view(grace))
    assert end_times(stack) == (600, 600 + IDLE)


def test_sign_in_of_the_same_user_restarts_the_limit_and_keeps_the_key(
    stack: Stack, browser: Browser, ada: User
) -> None:
    browser.visit(sign_in_view(ada))
    browser.visit(lambda request: request.session.set_expiry(10**6))
    key = browser.key
    stack.clock.advance(600)
    browser.visit(sign_in_view(ada))
    assert browser.key == key
    assert (browser.max_age, end_times(stack)) == (ABSOLUTE, (600, 600 + ABSOLUTE))


async def test_async_sign_in_of_the_same_user_restarts_the_limit(
    stack: Stack, settings: Settings, transactional_db: None
) -> None:
    user = await get_user_model().objects.acreate_user("ada")
    browser = Browser(settings)

    async def get_response(request: HttpRequest) -> HttpResponse:
        await alogin(request, user, backend=BACKEND)
        return HttpResponse()

    for _ in range(2):
        request = AsyncRequestFactory().get("/")
        if browser.key:
            request.COOKIES[settings.SESSION_COOKIE_NAME] = browser.key
        response: Any = SessionMiddleware(get_response)(request)
        browser.keep(await response)
        stack.clock.advance(600)
    assert end_times(stack) == (600, 600 + IDLE)


def test_cycled_key_alone_does_not_restart_the_limit(
    stack: Stack, browser: Browser, ada: User
) -> None:
    browser.visit(sign_in_view(ada))
    stack.clock.advance(600)
    key = browser.key
    browser.visit(lambda request: request.session.cycle_key())
    assert browser.key != key
    assert end_times(stack) == (0, 600 + IDLE)


def test_changed_password_does_not_restart_the_limit(
    stack: Stack, browser: Browser, ada: User
) -> None:
    browser.visit(sign_in_view(ada))
    stack.clock.advance(600)
    key = browser.key

    def change_password(request: HttpRequest) -> None:
        ada.set_password("battery staple")
        ada.save()
        request.user = ada
        update_session_auth_hash(request, ada)

    browser.visit(change_password)
    assert browser.key != key
    assert end_times(stack) == (0, 600 + IDLE)


def test_sign_out_leaves_nothing(stack: Stack, browser: Browser, ada: User) -> None:
    browser.visit(sign_in_view(ada))

    def sign_out(request: HttpRequest) -> None:
        request.user = ada
        logout(request)

    browser.visit(sign_out)
    assert stack.sessions() == {}
    assert browser.key is None


def test_cookie_of_a_browser_session_has_no_age_and_the_store_still_ends_it(
    stack: Stack, browser: Browser
) -> None:
    browser.visit(change_expiry(expiry=0))
    assert browser.max_age == ""
    assert end_times(stack) == (0, IDLE)


def test_save_every_request_renews_the_cookie_and_seldom_the_record(
    stack: Stack, browser: Browser, settings: Settings
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser.visit(change)
    stack.clock.advance(100)
    browser.visit(lambda request: request.session.get("visits"))
    assert (browser.max_age, end_times(stack)) == (IDLE, (0, IDLE))
    stack.clock.advance(1)
    browser.visit(lambda request: request.session.get("visits"))
    assert (browser.max_age, end_times(stack)) == (IDLE, (0, 101 + IDLE))
