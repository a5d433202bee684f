"""The size limit of sessions without a user: more is a 400, and not stored."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import SessionTooLarge
from sessions_kms.session.pending import AnonymousSessionTooLarge
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack, install

LIMIT = 2048
FRAME = len('{"a":""}')
FITS = "x" * (LIMIT - FRAME)
TOO_MUCH = FITS + "x"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "sessions_kms.middleware.StoreUnavailableMiddleware"


@pytest.fixture
def bounded(make_stack: MakeStack) -> Stack:
    return make_stack(anonymous_max_size=LIMIT)


def test_session_is_kept_up_to_the_limit(bounded: Stack) -> None:
    save_session(a=FITS)
    with pytest.raises(AnonymousSessionTooLarge, match=r"2,049 bytes are more than the 2,048"):
        save_session(a=TOO_MUCH)
    assert len(bounded.sessions()) == 1


def test_error_is_both_kinds() -> None:
    assert issubclass(AnonymousSessionTooLarge, SessionTooLarge)
    assert issubclass(AnonymousSessionTooLarge, SuspiciousOperation)


def test_without_the_setting_there_is_no_limit(make_fake: MakeStack) -> None:
    make_fake()
    save_session(a="x" * 300_000)


def test_signed_in_user_may_store_more(bounded: Stack) -> None:
    session = save_session(a=TOO_MUCH, **{USER_ID: "7"})
    session["b"] = "x" * 100_000
    session.save()


@pytest.mark.parametrize("write", [SessionStore.save, SessionStore.cycle_key])
def test_rejected_save_or_key_change_keeps_the_stored_version(
    bounded: Stack, write: Callable[[SessionStore], None]
) -> None:
    session = save_session(a="old")
    before = bounded.sessions()
    session["a"] = TOO_MUCH
    with pytest.raises(AnonymousSessionTooLarge):
        write(session)
    assert bounded.sessions() == before


def test_refused_create_gives_no_key(bounded: Stack) -> None:
    session = SessionStore()
    session["a"] = TOO_MUCH
    with pytest.raises(AnonymousSessionTooLarge):
        session.create()
    assert session.session_key is None
    assert bounded.sessions() == {}


def test_rejected_save_makes_no_call(make_fake: MakeStack) -> None:
    stack = make_fake(anonymous_max_size=LIMIT)
    with pytest.raises(AnonymousSessionTooLarge):
        save_session(a=TOO_MUCH)
    assert stack.dynamodb.calls == []


def test_what_two_requests_keep_fits_together_or_not_at_all(bounded: Stack) -> None:
    session = save_session(c=1)
    mine, theirs = (SessionStore(session.session_key) for _ in range(2))
    mine["a"], theirs["b"] = "x" * 1500, "x" * 1500
    theirs.save()
    with pytest.raises(AnonymousSessionTooLarge):
        mine.save()
    assert set(SessionStore(session.session_key).keys()) == {"b", "c"}


async def test_async_methods_refuse_it_too(bounded: Stack) -> None:
    session = SessionStore()
    await session.aset("a", TOO_MUCH)
    for write in (session.acreate, session.asave, session.acycle_key):
        with pytest.raises(AnonymousSessionTooLarge):
            await write()
    assert bounded.sessions() == {}


def test_session_from_before_the_limit_stays_and_may_shrink(make_fake: MakeStack) -> None:
    stack = make_fake()
    session = save_session(a="x" * 4000, b="x" * 4000)
    config = dataclasses.replace(stack.config, anonymous_max_size=LIMIT)
    install(dataclasses.replace(stack.services, config=config))
    session = SessionStore(session.session_key)
    session["c"] = "one more"
    with pytest.raises(AnonymousSessionTooLarge):
        session.save()
    del session["a"], session["c"]
    session.save()
    session.cycle_key()
    assert set(SessionStore(session.session_key).keys()) == {"b"}


def test_limit_applies_after_the_user_id_is_removed(bounded: Stack) -> None:
    session = save_session(a="x" * 9000, **{USER_ID: "7"})
    del session[USER_ID]
    with pytest.raises(AnonymousSessionTooLarge):
        session.save()


# Within a request


def fill(request: HttpRequest) -> HttpResponse:
    request.session["a"] = TOO_MUCH
    return HttpResponse("the view knows nothing of it")


def save(request: HttpRequest) -> HttpResponse:
    request.session["a"] = TOO_MUCH
    request.session.save()
    return HttpResponse("not reached")


def cycle(request: HttpRequest) -> HttpResponse:
    request.session["a"] = TOO_MUCH
    request.session.cycle_key()
    return HttpResponse("not reached")


async def afill(request: HttpRequest) -> HttpResponse:
    await request.session.aset("a", TOO_MUCH)
    return HttpResponse("the view knows nothing of it")


async def asave(request: HttpRequest) -> HttpResponse:
    await request.session.aset("a", TOO_MUCH)
    await request.session.asave()
    return HttpResponse("not reached")


views: dict[str, Callable[..., Any]] = {
    "fill": fill,
    "save": save,
    "cycle": cycle,
    "afill": afill,
    "asave": asave,
}
urlpatterns = [path(name, view) for name, view in views.items()]


def ask_wsgi(address: str) -> Any:
    return Client(raise_request_exception=False).get(address)


def ask_asgi(address: str) -> Any:
    return asyncio.run(AsyncClient(raise_request_exception=False).get(address))


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
@pytest.mark.parametrize("name", views)
def test_visitor_gets_400_wherever_it_was_raised(
    name: str,
    ask: Callable[[str], Any],
    *,
    debug: bool,
    make_fake: MakeStack,
    settings: Settings,
) -> None:
    stack = make_fake(anonymous_max_size=LIMIT)
    settings.DEBUG = debug
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [OURS, SESSION]
    response = ask(f"/{name}")
    assert response.status_code == 400
    assert not response.cookies
    assert TOO_MUCH not in response.content.decode()
    assert stack.sessions() == {}
