"""A provider that keeps one grant for each person and client, and ends all of its tokens together.

As Google does. From "the provider with one grant per person and client", "a person with two
browsers" and "the owner index" of the adversaries: what a sign-out or an app ends at the provider
must not end the access of another browser or app.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from oauth.exceptions import NoLongerAllowed
from oauth.network import concurrency
from oauth.provider.revocation import Revocation
from oauth.provider.token_set import TokenSet
from oauth.tokens import revocation
from tests.oauth.clients.support.app import SERVER, App, WayBack
from tests.oauth.clients.support.consent import allow
from tests.oauth.support.fake_provider import Response
from tests.oauth.support.fixtures import (
    BOB,
    Visitor,
    configure,
    environment,
    serving_corp,
    serving_other,
    sign_in_at,
)
from tests.oauth.support.logout_fixtures import (
    revoked_tokens,
    sign_out,
    wait_until_settled,
)
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import assert_no_token, stored_tokens
from tests.oauth.support.stage import run_now
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.stacks import Stack, install

Log = pytest.LogCaptureFixture
KEPT = "A grant of corp was not revoked: the user has other access."
UNREADABLE = "A grant of corp was not revoked: the user's other sessions cannot be read"


@dataclass
class OneGrantProvider(LogoutProvider):
    """Ends every token of the client when one is revoked."""

    ended: list[str] = field(default_factory=list)

    def _revoke(self, form: dict[str, str], authorization: str) -> Response:
        response = super()._revoke(form, authorization)
        self.ended += self.refresh_tokens
        self.refresh_tokens.clear()
        self.people_of_tokens.clear()
        return response


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[OneGrantProvider]:
    with serving_corp(OneGrantProvider, store, settings) as provider:
        yield provider


def choose(settings: Settings, corp: OneGrantProvider, choice: str) -> None:
    configure(settings, environment("corp", corp, REVOCATION=choice))


@pytest.fixture
def phone(ada: Visitor, corp: OneGrantProvider) -> Visitor:
    """Sign the same person in in a second browser."""
    visitor = sign_in_at(corp)
    assert visitor.user_id == ada.user_id
    return visitor


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(
        revocation, "count_revocation", lambda _, outcome: found.append(str(outcome))
    )
    return found


def allow_app(app: App, person: Visitor, corp: OneGrantProvider) -> dict[str, Any]:
    """Allow an app; return its tokens."""
    app.register()
    code = WayBack.of(allow(person, app, corp)).response["code"]
    tokens: dict[str, Any] = app.redeem(code).json()
    return tokens


def revoke(app: App, tokens: dict[str, Any]) -> None:
    form = {"token": tokens["refresh_token"], "client_id": app.client_id}
    assert app.post("/oauth/revoke", form).status_code == 200
    wait_until_settled()


def test_sign_out_ends_no_other_browser_until_the_last(
    ada: Visitor, phone: Visitor, corp: OneGrantProvider, counted: list[str], caplog: Log
) -> None:
    caplog.set_level("INFO")
    held = stored_tokens(phone)
    sign_out(ada)
    assert revoked_tokens(corp) == []
    assert held.refresh_token in corp.refresh_tokens
    assert KEPT in caplog.text
    sign_out(phone)
    assert revoked_tokens(corp) == [held.refresh_token]
    assert counted == ["kept", "revoked"]


def test_sign_out_and_an_apps_revocation_end_no_other_app(
    ada: Visitor, app: App, corp: OneGrantProvider
) -> None:
    second = App("Second")
    tokens = [allow_app(each, ada, corp) for each in (app, second)]
    revoke(app, tokens[0])  # The browser is there, and the other app.
    sign_out(ada)  # The other app is there.
    assert revoked_tokens(corp) == []
    revoke(second, tokens[1])
    assert len(revoked_tokens(corp)) == 1


def test_app_of_another_provider_does_not_count(
    ada: Visitor, app: App, corp: OneGrantProvider, settings: Settings
) -> None:
    allow_app(app, ada, corp)
    with serving_other(corp, settings) as other:
        visitor = sign_in_at(corp)
        visitor.connect(other)
        sign_out(ada)
        sign_out(visitor)
        assert (len(revoked_tokens(corp)), len(revoked_tokens(other))) == (0, 1)


@pytest.mark.parametrize(("choice", "number"), [("always", 1), ("never", 0)])
def test_other_choices_do_not_depend_on_others(  # noqa: PLR0917 - fixtures
    ada: Visitor,
    phone: Visitor,
    corp: OneGrantProvider,
    settings: Settings,
    store: Stack,
    choice: str,
    number: int,
) -> None:
    choose(settings, corp, choice)
    store.dynamodb.on("Query user", refuse_write)
    sign_out(ada)
    assert len(revoked_tokens(corp)) == number
    if choice == "never":
        sign_out(phone)
        assert revoked_tokens(corp) == []


@pytest.mark.parametrize(("choice", "number"), [("last", 1), ("always", 1), ("never", 0)])
def test_disconnected_account_is_revoked_although_others_use_it(  # noqa: PLR0917 - fixtures
    ada: Visitor,
    phone: Visitor,
    corp: OneGrantProvider,
    settings: Settings,
    choice: str,
    number: int,
) -> None:
    """The page says so (`test_disconnecting_says_what_else_ends`)."""
    choose(settings, corp, choice)
    give_another_account(ada)
    held = stored_tokens(ada)
    disconnect_corp(ada)
    assert revoked_tokens(corp) == [held.refresh_token] * number


def give_another_account(person: Visitor) -> None:
    """Nobody may disconnect their only account."""
    SocialAccount.objects.create(user_id=person.user_id, provider="corp", uid="another")


def disconnect_corp(person: Visitor) -> None:
    account = SocialAccount.objects.get(user_id=person.user_id, uid="1001")
    person.client.post("/accounts/3rdparty/", {"account": account.pk})
    assert person.load_tokens() is None


def test_rejected_sign_in_ends_no_other_browser(
    ada: Visitor, corp: OneGrantProvider, settings: Settings
) -> None:
    """A session that began under another rule goes on until its next refresh."""
    configure(settings, environment("corp", corp, ALLOWED_DOMAINS="example.org"))
    assert Visitor().sign_in(corp).status_code == 403
    assert revoked_tokens(corp) == []
    assert ada.sign_in(corp).status_code == 403  # This ends the browser's session.
    assert len(revoked_tokens(corp)) == 2  # the new grant and the session's


def test_rejected_sign_in_is_revoked_even_if_its_page_fails(
    corp: OneGrantProvider, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_DOMAINS="example.org"))
    monkeypatch.delattr("oauth.sign_in.failures.render")
    stranger = Visitor()
    stranger.client.raise_request_exception = False
    assert stranger.sign_in(corp).status_code == 500
    assert len(revoked_tokens(corp)) == 1


def test_rejected_refresh_ends_no_other_browser(
    ada: Visitor, corp: OneGrantProvider, store: Stack, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_GROUPS="staff"))
    corp.more_of_id_token = {"groups": ["staff"]}
    browsers = [sign_in_at(corp), ada]
    ada.sign_in(corp)
    corp.more_of_id_token = {"groups": []}
    store.clock.advance(3600)
    for browser, number in zip(browsers, (0, 1), strict=True):
        assert_no_token(browser, NoLongerAllowed)
        assert len(revoked_tokens(corp)) == number


# Tokens that nobody will hold


def test_tokens_of_somebody_elses_account_are_revoked_after_a_consent(
    ada: Visitor, app: App, corp: OneGrantProvider
) -> None:
    app.register()
    corp.person = BOB
    assert allow(ada, app, corp).status_code == 403
    assert len(revoked_tokens(corp)) == 1  # Nobody here has this account.
    sign_in_at(corp)
    assert allow(ada, app, corp).status_code == 403
    assert len(revoked_tokens(corp)) == 1  # Its owner uses it.


@pytest.mark.parametrize("choice", ["last", "always"])
def test_tokens_of_a_consent_that_came_too_late_are_revoked(
    ada: Visitor, app: App, corp: OneGrantProvider, settings: Settings, choice: str
) -> None:
    choose(settings, corp, choice)
    app.register()
    late = AuthorizationServer(**{**SERVER, "upstreams": {"files": "corp"}})
    corp.hooks["/token"] = lambda: setattr(settings, "AUTHORIZATION_SERVER", late)
    allow(ada, app, corp)
    assert len(revoked_tokens(corp)) == (
        1 if choice == "always" else 0
    )  # The browser holds others.


@pytest.mark.parametrize("choice", ["last", "always"])
def test_tokens_of_a_grant_that_cannot_be_stored_are_revoked(  # noqa: PLR0917 - fixtures
    ada: Visitor, app: App, corp: OneGrantProvider, store: Stack, settings: Settings, choice: str
) -> None:
    choose(settings, corp, choice)
    app.register()
    corp.hooks["/token"] = lambda: store.dynamodb.on("PutItem session", refuse_write)
    assert allow(ada, app, corp).status_code == 503
    assert len(revoked_tokens(corp)) == (1 if choice == "always" else 0)


def test_tokens_of_an_inactive_user_are_revoked_unless_other_sessions_use_them(
    ada: Visitor, corp: OneGrantProvider
) -> None:
    get_user_model().objects.update(is_active=False)
    assert sign_in_at(corp).user_id is None
    assert revoked_tokens(corp) == []
    sign_out(ada)
    assert len(revoked_tokens(corp)) == 1
    assert sign_in_at(corp).user_id is None
    assert len(revoked_tokens(corp)) == 2


def test_account_of_another_user_that_cannot_be_connected_is_revoked(
    ada: Visitor, corp: OneGrantProvider
) -> None:
    corp.person = BOB
    bob = sign_in_at(corp)
    held = stored_tokens(bob)
    ada.connect(corp, "corp")
    assert revoked_tokens(corp) == []
    assert held.refresh_token in corp.refresh_tokens
    sign_out(bob)
    assert len(revoked_tokens(corp)) == 1
    ada.connect(corp, "corp")
    assert stored_tokens(ada).subject == "1001"
    assert len(revoked_tokens(corp)) == 2


# Two browsers at the same moment


@pytest.mark.slow
def test_last_of_two_sign_outs_revokes_in_every_order(
    server: AuthorizationServer,
    corp: OneGrantProvider,
    store: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One browser signs out just before each call of the other's sign-out."""
    monkeypatch.setattr(concurrency, "run_in_background", run_now)
    calls = calls_of_a_sign_out(corp, store)
    assert "DeleteItem session" in calls
    assert calls.count("Query user") == 2

    for number in range(len(calls)):
        corp.revocations.clear()
        first, second = sign_in_at(corp), sign_in_at(corp)
        store.dynamodb.wire.strike(number, after(partial(sign_out, second)))
        sign_out(first)
        store.dynamodb.wire.heal()
        if second.user_id is not None:  # The first one found it, after fewer calls.
            assert not corp.revocations
            sign_out(second)
        assert (first.user_id, second.user_id) == (None, None)
        assert corp.revocations, calls[number]


def calls_of_a_sign_out(corp: OneGrantProvider, store: Stack) -> list[str]:
    person = sign_in_at(corp)
    store.dynamodb.calls.clear()
    sign_out(person)
    return list(store.dynamodb.calls)


# The owner index


def test_browser_that_the_index_does_not_show_yet_keeps_its_tokens(
    ada: Visitor, corp: OneGrantProvider, store: Stack
) -> None:
    store.dynamodb.stop_index()
    phone = sign_in_at(corp)
    install(replace(store.services, sleep=lambda _: store.dynamodb.catch_up()))
    sign_out(ada)
    assert revoked_tokens(corp) == []
    assert stored_tokens(phone).refresh_token in corp.refresh_tokens


def test_sessions_that_have_ended_count_for_nothing(
    ada: Visitor, phone: Visitor, corp: OneGrantProvider, store: Stack
) -> None:
    store.dynamodb.stop_index()  # It goes on to list them.
    sign_out(phone)
    assert revoked_tokens(corp) == []
    sign_out(ada)
    assert len(revoked_tokens(corp)) == 1


@pytest.mark.parametrize("call", ["Query user", "GetItem session", "GetItem about"])
def test_nothing_is_revoked_if_a_read_fails(  # noqa: PLR0917 - fixtures
    ada: Visitor,
    app: App,
    corp: OneGrantProvider,
    store: Stack,
    counted: list[str],
    caplog: Log,
    call: str,
) -> None:
    allow_app(app, ada, corp)
    store.dynamodb.on("DeleteItem session", then(lambda: store.dynamodb.on(call, refuse_write)))
    sign_out(ada)
    assert revoked_tokens(corp) == []
    assert UNREADABLE in caplog.text
    assert counted == ["undecided"]


def then(do: Callable[[], object]) -> Callable[[Callable[[], Any]], Any]:
    """Have something done just after a call was handled."""

    def done_afterwards(handle: Callable[[], Any]) -> Any:
        response = handle()
        do()
        return response

    return done_afterwards


def sign_out_and_in(ada: Visitor, corp: OneGrantProvider, store: Stack, pause: Pause) -> None:
    """Sign out, and in again elsewhere while the revocation pauses: it must not end the new one."""
    sign_out(ada)
    assert pause.is_reached.wait(10)
    phone = sign_in_at(corp)
    store.clock.advance(5)
    pause.is_over.set()
    assert revoked_tokens(corp) == []
    assert stored_tokens(phone).refresh_token in corp.refresh_tokens


@dataclass
class Pause:
    """Lets a background thread wait for the test."""

    is_reached: threading.Event = field(default_factory=threading.Event)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.is_reached.set()
        assert self.is_over.wait(10)


def test_sign_in_while_a_revocation_waits_for_a_refresh_is_not_ended(
    ada: Visitor, corp: OneGrantProvider, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_newest, pause = Revocation._find_newest, Pause()

    def find_slowly(self: Revocation, held: TokenSet) -> TokenSet | None:
        pause()
        return find_newest(self, held)

    monkeypatch.setattr(Revocation, "_find_newest", find_slowly)
    sign_out_and_in(ada, corp, store, pause)


def test_sign_in_while_the_provider_cannot_revoke_is_not_ended(
    ada: Visitor, corp: OneGrantProvider, store: Stack
) -> None:
    pause = Pause()

    def fail_once() -> Response:
        del corp.failing["/revoke"]
        pause()
        return 503, "text/plain", b""

    corp.failing["/revoke"] = fail_once
    sign_out_and_in(ada, corp, store, pause)
