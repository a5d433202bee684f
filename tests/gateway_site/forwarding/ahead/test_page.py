"""What a page shows is read ahead: for one request, its session and its person, one taking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template import Context, Template
from django.test import RequestFactory
from django.urls import path
from pytest_django import Settings

from gateway_site.forwarding.ahead.page import Asked, PageAhead, reads_ahead, taken
from gateway_site.forwarding.passage import IN_LOOP, NeedsThread
from gateway_site.forwarding.people import People
from gateway_site.pages import app_news, connected
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms import StoreUnavailable
from sessions_kms.backend import SessionStore
from tests.gateway_site.forwarding.test_passage import a_session, answer, here, look_up
from tests.oauth.support.fixtures import configure
from tests.sessions_kms.support.stacks import fake_stack, install
from tests.support.clock import FakeClock

ADA = User(pk=7, username="ada")
SIGNED_IN = {
    SESSION_KEY: "7",
    BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
    HASH_SESSION_KEY: ADA.get_session_auth_hash(),
}
READ: list[Asked] = []


async def greeting(asked: Asked) -> str:
    READ.append(asked)
    if "fail" in asked.query:
        raise StoreUnavailable("not now")
    return f"hello {asked.user.get_username()} {await asked.database(here)}"


def by_itself() -> str:
    return f"by itself {here()}"


@reads_ahead(greeting=greeting)
def shown(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return HttpResponse(f"nobody {here()}")
    return HttpResponse(f"{taken(request, 'greeting', by_itself)} | {request.user} {here()}")


@reads_ahead(greeting=greeting)
def forgiving(request: HttpRequest) -> HttpResponse:
    try:
        return HttpResponse(taken(request, "greeting", by_itself))
    except StoreUnavailable:
        return HttpResponse(f"unknown {here()}")


@reads_ahead(greeting=greeting)
def greedy(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(taken(request, "greeting", by_itself) for _ in range(2)))


@reads_ahead()
def of_an_operator(request: HttpRequest) -> HttpResponse:
    """Render what an operator's own template may: it asks the database."""
    context = Context({"look_up": look_up, "here": here})
    return HttpResponse(Template("{{ look_up }}{{ here }}").render(context))


urlpatterns = [
    path("shown", shown),
    path("forgiving", forgiving),
    path("greedy", greedy),
    path("operator", of_an_operator),
]
handler500 = "gateway_site.outages.server_error"


@pytest.fixture(autouse=True)
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = "tests.gateway_site.forwarding.ahead.test_page"
    install(fake_stack(FakeClock()).services)
    monkeypatch.setattr(People, "at_hand", lambda *_: ADA)
    READ.clear()


def unknown(monkeypatch: pytest.MonkeyPatch, found: Callable[[], User | None]) -> list[str]:
    """Have nobody at hand, and the database say this; return where it is asked."""
    asked: list[str] = []

    def asking(_: People, session: Mapping[str, Any]) -> User | None:
        asked.append(f"{session[SESSION_KEY]} {here()}")
        return found()

    monkeypatch.setattr(People, "at_hand", lambda *_: None)
    monkeypatch.setattr(People, "found", asking)
    return asked


def in_loop(session: SessionStore) -> HttpRequest:
    request = RequestFactory().get("/")
    request.session = session
    setattr(request, IN_LOOP, True)
    return request


def test_page_is_made_in_the_loop_and_the_database_asked_in_a_thread() -> None:
    found = answer("/shown", a_session(**SIGNED_IN))
    assert found == (200, b"hello ada thread | ada loop")


def test_who_is_not_at_hand_is_asked_for_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = unknown(monkeypatch, lambda: ADA)
    found = answer("/shown", a_session(**SIGNED_IN))
    assert found == (200, b"hello ada thread | ada loop")
    assert asked == ["7 thread"]


def test_database_that_cannot_be_asked_is_a_503_and_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    asked = unknown(monkeypatch, fail)
    status, page = answer("/shown", a_session(**SIGNED_IN))
    assert (status, b"Back in a moment" in page) == (503, True)
    assert (asked, READ) == (["7 thread"], [])


def test_nothing_is_read_for_nobody() -> None:
    assert answer("/shown") == (200, b"nobody loop")
    assert answer("/shown", a_session(a=1)) == (200, b"nobody loop")
    assert READ == []


def test_what_cannot_be_read_is_raised_to_who_takes_it() -> None:
    found = answer("/forgiving?fail", a_session(**SIGNED_IN))
    assert found == (200, b"unknown loop")


def test_second_taking_reads_for_itself_in_a_thread() -> None:
    found = answer("/greedy", a_session(**SIGNED_IN))
    assert found == (200, b"by itself thread by itself thread")


def test_template_that_waits_goes_to_a_thread() -> None:
    assert answer("/operator") == (200, b"Nonethread")


def test_what_was_read_is_for_no_other_session() -> None:
    left = PageAhead("a" * 32)
    left._outcomes["greeting"] = SimpleNamespace()  # type: ignore[assignment]
    assert left.has("greeting", "a" * 32)
    assert not left.has("greeting", "b" * 32)
    assert not left.has("greeting", None)
    assert not left.has("other", "a" * 32)


def test_who_asks_is_told_without_the_session() -> None:
    asked = Asked(ADA, "k" * 32, QueryDict("secret=s"), None)  # type: ignore[arg-type]
    assert "k" * 32 not in repr(asked)
    assert "secret" not in repr(asked)


def test_news_of_apps_are_looked_for_in_a_thread() -> None:
    request = in_loop(SessionStore(a_session(**SIGNED_IN)))
    with pytest.raises(NeedsThread):
        app_news.tell(request, [("x" * 43, 2_000_000_000)])
    assert app_news.SEEN not in request.session


def test_token_is_renewed_in_a_thread(settings: Settings) -> None:
    configure(settings, {"corp": "https://idp.example"})
    expired = TokenSet(
        access_token="t",
        token_type="Bearer",
        scope=(),
        subject="1",
        client_id="corp",
        expires_at=1,
        refresh_token="r",
    )
    session = SessionStore()
    vault.store(session, "corp", expired)
    with pytest.raises(NeedsThread):
        connected._refused_renewal(in_loop(session), "corp")
