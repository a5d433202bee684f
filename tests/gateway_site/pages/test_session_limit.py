"""A limit of sessions per person at the gateway: what each browser sees."""

from typing import Any

import pytest
from allauth.account.internal.flows.reauthentication import reauthenticate_by_password
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from gateway_site.audit import event, receivers
from gateway_site.edge.middleware import SIGNED_OUT
from gateway_site.pages.session_limit import SessionLimitMiddleware
from sessions_kms import SessionStore
from sessions_kms.signals import session_ended
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.browser import limit_sessions
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/139.0 Safari/537.36"
ENDED = "This sign-in has ended an older session"


@pytest.fixture(autouse=True)
def limit(store: Stack, settings: Settings) -> None:
    settings.SESSIONS_KMS = settings.SESSIONS_KMS | {"MAX_SESSIONS_PER_USER": 1}
    limit_sessions(store, 1)


def browser(user_agent: str, **headers: str) -> Visitor:
    made = Visitor()
    made.client = Client(headers={"User-Agent": user_agent, **headers})
    return made


def sign_in(visitor: Visitor, corp: FakeProvider, store: Stack) -> str:
    """Sign in a second later; return the next page."""
    store.clock.advance(1)
    visitor.sign_in(corp)
    return visitor.client.get("/").content.decode()


def is_signed_in(visitor: Visitor) -> bool:
    return b"Sign out" in visitor.client.get("/").content


def test_each_sign_in_ends_the_session_of_the_other_browser_and_says_so(
    store: Stack, corp: FakeProvider
) -> None:
    windows, linux = browser(FIREFOX), browser(CHROME)
    assert ENDED not in sign_in(windows, corp, store)
    for new, old, device in [
        (linux, windows, "Firefox on Windows"),
        (windows, linux, "Chrome on Linux"),
    ] * 2:
        page = sign_in(new, corp, store)
        assert f"{ENDED}, because you can have at most 1: {device}, signed in on" in page
        assert ENDED not in new.client.get("/").content.decode(), "it is said once"
        assert is_signed_in(new)
        assert not is_signed_in(old)
        assert old.client.get("/sessions/")["Location"].startswith("/accounts/login/")


def test_message_is_in_the_language_of_the_new_browser(store: Stack, corp: FakeProvider) -> None:
    sign_in(browser("curl/8"), corp, store)
    page = sign_in(browser(FIREFOX, **{"Accept-Language": "de"}), corp, store)
    assert "(Höchstzahl: 1): unbekannter Browser, angemeldet am" in page


def test_sign_ins_in_one_browser_and_connected_accounts_end_nothing(
    store: Stack, corp: FakeProvider, other: FakeProvider
) -> None:
    visitor = browser(FIREFOX)
    for _ in range(3):
        assert ENDED not in sign_in(visitor, corp, store)
    visitor.connect(other)
    assert ENDED not in visitor.client.get("/").content.decode()
    assert len(store.sessions()) == 1


def test_reauthentication_ends_nothing(store: Stack, corp: FakeProvider) -> None:
    limit_sessions(store, None)
    visitors = [browser(FIREFOX), browser(CHROME)]
    for visitor in visitors:
        sign_in(visitor, corp, store)
    limit_sessions(store, 1)
    request = RequestFactory().post("/")
    request.session, request.user = visitors[0].session, User.objects.get()
    reauthenticate_by_password(request)
    request.session.save()
    assert all(map(is_signed_in, visitors))


def test_failure_of_the_limit_fails_no_sign_in(store: Stack, corp: FakeProvider) -> None:
    first, second = browser(FIREFOX), browser(CHROME)
    sign_in(first, corp, store)
    store.dynamodb.on("Query user", refuse_write)
    assert ENDED not in sign_in(second, corp, store)
    store.dynamodb.heal()
    assert is_signed_in(first)
    assert is_signed_in(second)


def test_table_that_is_down_when_the_session_is_stored_is_a_503(
    store: Stack, corp: FakeProvider
) -> None:
    visitor = browser(FIREFOX)
    visitor.client.raise_request_exception = False
    callback = visitor.callback_address(corp)
    corp.hooks = {"/token": lambda: store.dynamodb.on("PutItem session", refuse_write)}
    assert visitor.client.get(callback).status_code == 503


@pytest.mark.parametrize("status", [200, 500])
def test_session_that_has_ended_or_whose_request_failed_is_not_stored(
    store: Stack, status: int
) -> None:
    """Django's session middleware answers the former with 400, and does not save the latter."""
    ended = SessionStore()
    ended["a"] = 1
    ended.save()
    request = RequestFactory().get("/")
    request.session = SessionStore(ended.session_key if status == 200 else None)
    request.session["a"] = 2
    setattr(request, SIGNED_OUT, False)  # as after a sign-in
    ended.delete()
    response = HttpResponse(status=status)
    middleware = SessionLimitMiddleware(lambda _: response)
    assert middleware.process_response(request, response) is response
    assert store.sessions() == {}


def test_audit_log_has_the_reason(
    store: Stack, corp: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        receivers, "record", lambda name, **fields: recorded.append((name, fields.get("reason")))
    )
    assert session_ended.has_listeners()
    visitors = [browser(FIREFOX), browser(CHROME)]
    for visitor in visitors:
        sign_in(visitor, corp, store)
    visitors[1].client.post("/accounts/logout/")
    ends = [reason for name, reason in recorded if name == event.SESSION_ENDED]
    assert ends == ["limit", None]
