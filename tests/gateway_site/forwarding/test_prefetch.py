"""Data of a page that are read in advance, for one use in one request of one person."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock, call

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from django.urls import path
from django.views.decorators.http import require_safe
from pytest_django import Settings

from gateway_site.forwarding import prefetch
from gateway_site.forwarding.middleware_run import IN_LOOP, RequiresThread
from gateway_site.forwarding.prefetch import (
    PageRequest,
    PrefetchedPage,
    _run_with_connection,
    prefetches,
    take_prefetched,
)
from gateway_site.forwarding.user_cache import UserCache
from gateway_site.pages import home
from gateway_site.pages.apps import ANNOUNCED, announce_new_apps
from gateway_site.pages.connections import _is_renewal_refused, prefetch_accounts
from gateway_site.pages.home import prefetch_session_count
from oauth import unless_ended
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms import StoreUnavailable, id_of
from sessions_kms.backend import SessionStore
from sessions_kms.operations.listing import Count
from tests.gateway_site.forwarding.test_middleware_run import a_session, answer, here, look_up
from tests.oauth.support.fixtures import configure
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

ADA = User(pk=7, username="ada")
SIGNED_IN = {
    SESSION_KEY: "7",
    BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
    HASH_SESSION_KEY: ADA.get_session_auth_hash(),
}
READ: list[PageRequest] = []
MANY = "?" + "a&" * 1001  # parameters, of which Django takes 1000


async def greeting(asked: PageRequest) -> str:
    READ.append(asked)
    if "fail" in asked.query():
        raise StoreUnavailable("not now")
    return f"hello {asked.user.get_username()} {await asked.database(here)}"


async def in_need_of_a_thread(asked: PageRequest) -> str:
    READ.append(asked)
    raise RequiresThread


def by_itself() -> str:
    return f"by itself {here()}"


@prefetches(greeting=greeting)
def shown(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return HttpResponse(f"nobody {here()}")
    return HttpResponse(
        f"{take_prefetched(request, 'greeting', by_itself)} | {request.user} {here()}"
    )


@prefetches(greeting=greeting)
def forgiving(request: HttpRequest) -> HttpResponse:
    try:
        return HttpResponse(take_prefetched(request, "greeting", by_itself))
    except StoreUnavailable:
        return HttpResponse(f"unknown {here()}")


@prefetches(greeting=greeting)
def greedy(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(take_prefetched(request, "greeting", by_itself) for _ in range(2)))


@prefetches(renewed=in_need_of_a_thread, greeting=greeting)
def renewing(request: HttpRequest) -> HttpResponse:
    said = [take_prefetched(request, name, by_itself) for name in ("renewed", "greeting")]
    return HttpResponse(" | ".join([*said, str(request.user)]))


@prefetches(first=greeting, second=greeting)
def twofold(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        take_prefetched(request, "first", by_itself) + take_prefetched(request, "second", by_itself)
    )


async def twice_two(asked: PageRequest) -> int:
    return 4


@prefetches(four=twice_two)
def twice(request: HttpRequest) -> HttpResponse:
    return HttpResponse(take_prefetched(request, "four", by_itself))


@prefetches()
@require_safe
def unsafe(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


@prefetches()
def of_an_operator(request: HttpRequest) -> HttpResponse:
    """Render what an operator's own template may: it asks the database."""
    context = Context({"look_up": look_up, "here": here})
    return HttpResponse(Template("{{ look_up }}{{ here }}").render(context))


@prefetches()
def conditional(request: HttpRequest) -> HttpResponse:
    condition = "{% if here != 'nowhere' and not look_up %}yes{% else %}no{% endif %}"
    return HttpResponse(Template(condition).render(Context({"look_up": look_up, "here": here})))


urlpatterns = [
    path("conditional", conditional),
    path("shown", shown),
    path("forgiving", forgiving),
    path("greedy", greedy),
    path("renewing", renewing),
    path("twofold", twofold),
    path("twice", twice),
    path("operator", of_an_operator),
]
handler500 = "gateway_site.outages.server_error"


@pytest.fixture(autouse=True)
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = "tests.gateway_site.forwarding.test_prefetch"
    install(fake_stack(FakeClock()).services)
    monkeypatch.setattr(UserCache, "cached_user", lambda *_: ADA)
    READ.clear()


def unknown(monkeypatch: pytest.MonkeyPatch, found: Callable[[], User | None]) -> list[str]:
    """Have nobody at hand, and the database say this; return where it is asked."""
    asked: list[str] = []

    def asking(_: UserCache, session: Mapping[str, Any]) -> User | None:
        asked.append(f"{session[SESSION_KEY]} {here()}")
        return found()

    monkeypatch.setattr(UserCache, "cached_user", lambda *_: None)
    monkeypatch.setattr(UserCache, "load_user", asking)
    return asked


def in_loop(session: SessionStore) -> HttpRequest:
    request = RequestFactory().get("/")
    request.session = session
    setattr(request, IN_LOOP, True)
    return request


def test_page_is_rendered_in_the_loop_and_the_database_queried_in_a_thread() -> None:
    found = answer("/shown", a_session(**SIGNED_IN))
    assert found == (200, b"hello ada thread | ada loop")


def test_who_is_not_at_hand_is_asked_for_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = unknown(monkeypatch, lambda: ADA)
    found = answer("/shown", a_session(**SIGNED_IN))
    assert found == (200, b"hello ada thread | ada loop")
    assert asked == ["7 thread"]


def test_unavailable_database_is_a_503_and_is_queried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    asked = unknown(monkeypatch, fail)
    status, shown_page = answer("/shown", a_session(**SIGNED_IN))
    assert (status, b"Back in a moment" in shown_page) == (503, True)
    assert (asked, READ) == (["7 thread"], [])


def test_nothing_is_read_without_a_session() -> None:
    assert answer("/shown") == (200, b"nobody loop")
    assert answer("/shown", a_session(a=1)) == (200, b"nobody loop")
    assert READ == []


def test_what_cannot_be_read_is_raised_to_who_takes_it() -> None:
    found = answer("/forgiving?fail", a_session(**SIGNED_IN))
    assert found == (200, b"unknown loop")


def test_second_taking_reads_for_itself_in_a_thread() -> None:
    found = answer("/greedy", a_session(**SIGNED_IN))
    assert found == (200, b"by itself thread by itself thread")


def test_blocking_template_is_rendered_in_a_thread() -> None:
    assert answer("/operator") == (200, b"Nonethread")


def test_operators_own_templates_go_to_a_thread(settings: Settings) -> None:
    """A condition of a template takes every error for a no, also that it would have to wait."""
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": ["/etc/gateway/templates"]}]
    assert answer("/conditional") == (200, b"yes")


def test_read_that_needs_a_thread_is_the_last_and_the_session_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There the database is asked who it is: what a page changes goes by nothing remembered."""
    monkeypatch.setattr(ModelBackend, "get_user", lambda *_: User(username=f"ada of a {here()}"))
    monkeypatch.setattr(User, "get_session_auth_hash", lambda _: SIGNED_IN[HASH_SESSION_KEY])
    made = fake_stack(FakeClock())
    install(made.services)
    key = a_session(**SIGNED_IN)
    made.dynamodb.calls.clear()
    assert answer("/renewing", key) == (
        200,
        b"by itself thread | by itself thread | ada of a thread",
    )
    assert made.dynamodb.calls.count("GetItem session") == 1
    assert len(READ) == 1


def test_nothing_is_read_after_a_failed_read() -> None:
    status, shown_page = answer("/twofold?fail", a_session(**SIGNED_IN))
    assert (status, b"Back in a moment" in shown_page) == (503, True)
    assert len(READ) == 1


@pytest.mark.parametrize("address", ["/shown", "/forgiving"])
def test_too_many_parameters_are_rejected_by_views_that_read_them(address: str) -> None:
    assert answer(address + MANY, a_session(**SIGNED_IN))[0] == 400


def test_too_many_parameters_do_not_matter_to_views_that_read_none() -> None:
    assert answer("/twice" + MANY, a_session(**SIGNED_IN))[0] == 200


def test_session_is_not_loaded_without_a_prefetch() -> None:
    request = RequestFactory().post("/")
    request.session = Mock(get=Mock(side_effect=StoreUnavailable))
    assert unsafe(request).status_code == 405


def garbage(work: Callable[[], object]) -> list[Any]:
    """Return what is left for the collector, which looks seldom."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        work()
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("host", ["127.0.0.1", "another.example"], ids=["taken", "not-taken"])
@pytest.mark.parametrize("address", ["/forgiving?fail", "/shown?fail", "/shown?down"])
def test_error_keeps_nothing_of_the_session_for_the_collector(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, address: str, host: str
) -> None:
    """Its frames have the content of a session, and all that was read of it."""
    settings.ALLOWED_HOSTS = [host]
    logging.disable()  # pytest keeps what is logged, and the request with it.

    def fail() -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    if "down" in address:
        unknown(monkeypatch, fail)
    key = a_session(**SIGNED_IN)
    try:
        answer(address, key)  # The first has Django make what stays.
        kinds = map(type, garbage(lambda: answer(address, key)))
    finally:
        logging.disable(logging.NOTSET)
    assert not {StoreUnavailable, OperationalError}.intersection(kinds)


def test_what_was_read_is_for_no_other_session() -> None:
    left = PrefetchedPage("a" * 32)
    left._found["greeting"] = "hello"
    assert left.has("greeting", "a" * 32)
    assert not left.has("greeting", "b" * 32)
    assert not left.has("greeting", None)
    assert not left.has("other", "a" * 32)


@pytest.mark.parametrize("error", [None, OperationalError()], ids=["answered", "failed"])
def test_thread_gives_its_connection_back_as_after_a_request(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Which it may have from a request before: that may be too old, or broken."""
    done = Mock()
    done.ask.side_effect = error
    monkeypatch.setattr(prefetch, "reset_queries", done.reset)
    monkeypatch.setattr(prefetch, "close_old_connections", done.close)
    with suppress(OperationalError):
        _run_with_connection(done.ask)
    assert done.mock_calls == [call.reset(), call.close(), call.ask(), call.close()]


def test_error_is_taken_once() -> None:
    left = PrefetchedPage("a" * 32)
    left._errors["greeting"] = StoreUnavailable()
    assert left.has("greeting", "a" * 32)
    with pytest.raises(StoreUnavailable):
        left.take("greeting")
    assert not left.has("greeting", "a" * 32)


def test_who_is_signed_in_is_known_without_the_session() -> None:
    asked = PageRequest(ADA, {"a": "of the session"}, "k" * 32, b"secret=s", None)  # type: ignore[arg-type]
    assert "k" * 32 not in repr(asked)
    assert "secret" not in repr(asked)
    assert "of the session" not in repr(asked)


def test_news_of_apps_are_looked_for_in_a_thread() -> None:
    request = in_loop(SessionStore(a_session(**SIGNED_IN)))
    with pytest.raises(RequiresThread):
        announce_new_apps(request, [("x" * 43, 2_000_000_000)])
    assert ANNOUNCED not in request.session


@pytest.mark.parametrize("clients", [True, False])
def test_home_page_with_news_of_apps_is_not_tried_in_the_loop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, clients: bool
) -> None:
    """The session that was read ahead is the thread's then, which need not read it again."""

    async def counted(_: PageRequest) -> Count:
        return Count(len(newest), more=False, newest=tuple(newest))

    monkeypatch.setattr(home, "prefetch_count", counted)
    settings.AUTHORIZATION_SERVER = SimpleNamespace() if clients else None
    key = a_session(**SIGNED_IN)
    asked = PageRequest(ADA, SIGNED_IN, key, b"", None)  # type: ignore[arg-type]
    newest = [(id_of(key), 2_000_000_000)]
    found = asyncio.run(prefetch_session_count(asked))
    assert (found is not None) == clients  # Nothing is counted where nothing can be news.
    newest.append(("x" * 43, 2_000_000_000))
    if clients:
        with pytest.raises(RequiresThread):
            asyncio.run(prefetch_session_count(asked))
    else:
        assert asyncio.run(prefetch_session_count(asked)) is None


@pytest.fixture
def expired(settings: Settings) -> TokenSet:
    variables = {"CLIENT_ID": "corp", "CLIENT_SECRET": "s", "ISSUER": "https://idp.example"}
    configure(settings, {f"OAUTH_CORP_{name}": value for name, value in variables.items()})
    return TokenSet(
        access_token="t",
        token_type="Bearer",
        scope=(),
        subject="1",
        client_id="corp",
        expires_at=1,
        refresh_token="r",
    )


def test_token_is_renewed_in_a_thread(expired: TokenSet) -> None:
    session = SessionStore()
    vault.store_token_set(session, "corp", expired)
    with pytest.raises(RequiresThread):
        _is_renewal_refused(in_loop(session), "corp")


def test_token_that_must_be_renewed_is_seen_before_more_is_read(expired: TokenSet) -> None:
    async def database(work: Callable[[], Any], /) -> Any:
        raise NotImplementedError

    held = {vault.session_key("corp"): expired.to_session()}
    with pytest.raises(RequiresThread):
        asyncio.run(prefetch_accounts(PageRequest(ADA, held, "k" * 32, b"", database)))


def test_ended_grants_are_read_in_advance(expired: TokenSet) -> None:
    """It may be asked in the loop then, which else has the page made in a thread."""
    held = replace(expired, expires_at=None)

    async def ask() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            unless_ended("corp", held)
        content = {vault.session_key("corp"): held.to_session()}
        await prefetch_accounts(PageRequest(ADA, content, "k" * 32, b"", AsyncMock()))
        assert unless_ended("corp", held) == held

    asyncio.run(ask())
