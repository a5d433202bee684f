"""Signing out revokes the grant at the provider: once, afterwards, and never the wrong one."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from pytest_django import Settings

from oauth import background
from oauth.background import Background
from oauth.exceptions import OAuthError
from oauth.providers import provider
from oauth.renewal import Renewal
from oauth.revocation import revoke_soon
from oauth.tokens import TokenSet
from sessions_kms import services
from sessions_kms.exceptions import TableUnavailable
from tests.oauth.fake_provider import Answer
from tests.oauth.fixtures import Visitor, configure, environment
from tests.oauth.logout_provider import LogoutProvider
from tests.sessions_kms.stacks import Stack

BOB = {"sub": "2002", "email": "bob@example.com", "name": "Bob"}
ROOT = Path(__file__).resolve().parents[2]


def held_by(visitor: Visitor, name: str = "corp") -> TokenSet:
    held = visitor.held(name)
    assert held is not None
    return held


def sign_out(visitor: Visitor) -> Any:
    response = visitor.client.post("/accounts/logout/")
    assert response.status_code == 302
    return response


def settled() -> None:
    assert background.drain(20)


def revoked(idp: LogoutProvider) -> list[str]:
    settled()
    return [form["token"] for form in idp.revocations]


def disconnect(visitor: Visitor, name: str) -> None:
    account = SocialAccount.objects.get(provider=name)
    visitor.client.post("/accounts/3rdparty/", {"account": account.pk})


def refreshed(visitor: Visitor, held: TokenSet) -> TokenSet:
    corp = provider("corp")
    assert corp is not None
    successor = Renewal(corp).successor(held, is_current=lambda: True, patient=True)
    assert successor is not None
    return successor.token_set


def test_sign_out_revokes_the_refresh_token_once(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    held = held_by(visitor)
    sign_out(visitor)
    assert visitor.user_id is None
    assert revoked(idp) == [held.refresh_token]
    assert idp.revocations[0]["token_type_hint"] == "refresh_token"
    assert idp.refresh_tokens == set()


def test_without_refresh_token_the_access_token_is_revoked(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    idp.gives_refresh_token = False
    visitor.sign_in(idp)
    held = held_by(visitor)
    sign_out(visitor)
    assert revoked(idp) == [held.access_token]
    assert idp.revocations[0]["token_type_hint"] == "access_token"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_authenticates_as_at_the_token_endpoint(
    idp: LogoutProvider, visitor: Visitor, method: str
) -> None:
    idp.auth_method = method
    visitor.sign_in(idp)
    sign_out(visitor)
    assert len(revoked(idp)) == 1


def test_session_is_gone_before_the_grant_is(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(idp)
    there: list[int] = []
    idp.hooks["/revoke"] = lambda: there.append(len(store.sessions()))
    sign_out(visitor)
    settled()
    assert there == [0]


def test_every_connected_provider_is_asked(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)
    first, other = held_by(visitor), held_by(visitor, "other")
    sign_out(visitor)
    assert revoked(idp) == [first.refresh_token]
    assert revoked(second) == [other.refresh_token]


def test_administrations_own_sign_out_revokes_too(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    get_user_model().objects.update(is_staff=True)
    assert visitor.client.post("/admin/logout/").status_code == 200
    assert len(revoked(idp)) == 1


def test_provider_without_revocation_is_left_alone(idp: LogoutProvider, visitor: Visitor) -> None:
    idp.more_of_metadata = {"revocation_endpoint": None}
    visitor.sign_in(idp)
    sign_out(visitor)
    assert revoked(idp) == []


# Not the wrong one


def test_signing_in_again_revokes_nothing(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    visitor.sign_in(idp)
    assert revoked(idp) == []
    assert held_by(visitor).refresh_token in idp.refresh_tokens


def test_signing_in_again_without_a_new_refresh_token_keeps_the_old_one_alive(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    first = held_by(visitor)
    idp.gives_refresh_token = False
    visitor.sign_in(idp)
    assert revoked(idp) == []
    assert held_by(visitor).refresh_token == first.refresh_token
    idp.gives_refresh_token = True
    assert refreshed(visitor, held_by(visitor)).refresh_token in idp.refresh_tokens


def test_signing_in_again_revokes_nothing_of_the_other_providers(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)
    visitor.sign_in(idp)
    assert held_by(visitor, "other").refresh_token in second.refresh_tokens
    assert (revoked(idp), revoked(second)) == ([], [])


def test_signing_in_again_revokes_nothing_while_a_stage_is_pending(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)
    settings.ROOT_URLCONF = "tests.oauth.email_stage"
    settings.SOCIALACCOUNT_ONLY = False
    settings.ACCOUNT_ADAPTER = "tests.oauth.email_stage.OutboxAdapter"
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
    settings.ACCOUNT_SIGNUP_FIELDS = ["username*", "email*"]

    response = visitor.sign_in(idp)

    assert response["Location"] == "/accounts/confirm-email/"
    assert visitor.user_id is None
    assert (revoked(idp), revoked(second)) == ([], [])


def test_connecting_again_revokes_nothing(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)
    visitor.connect(second)
    assert revoked(second) == []


def test_signing_in_as_another_revokes_the_first_ones_grant(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    ada = held_by(visitor)
    idp.person = BOB
    visitor.sign_in(idp)
    assert held_by(visitor).subject == "2002"
    assert revoked(idp) == [ada.refresh_token]
    assert held_by(visitor).refresh_token in idp.refresh_tokens


def test_disconnecting_revokes_that_grant_and_no_other(
    idp: LogoutProvider, second: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)
    other = held_by(visitor, "other")
    disconnect(visitor, "other")
    assert revoked(second) == [other.refresh_token]
    assert revoked(idp) == []
    assert visitor.user_id is not None


def test_token_of_another_client_is_not_shown_to_this_one(
    idp: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    visitor.sign_in(idp)
    configure(settings, environment("corp", idp, CLIENT_ID="the-client-of-today"))
    sign_out(visitor)
    assert revoked(idp) == []


# Two at once


def test_two_sign_outs_of_one_session_revoke_once(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    held = held_by(visitor)
    for _ in range(2):
        revoke_soon("corp", held)
    assert revoked(idp) == [held.refresh_token]


def test_no_refresh_begins_after_the_sign_out(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    held = held_by(visitor)
    sign_out(visitor)
    settled()
    with pytest.raises(OAuthError):
        refreshed(visitor, held)
    assert idp.refreshes == []


def test_what_a_refresh_fetched_before_is_revoked(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    new = refreshed(visitor, held_by(visitor))  # and its save was lost
    sign_out(visitor)
    assert revoked(idp) == [new.refresh_token]
    assert idp.refresh_tokens == set()


def test_refresh_under_way_at_the_sign_out_leaves_no_live_grant(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    services._services = replace(store.services, sleep=time.sleep)
    visitor.sign_in(idp)
    held = held_by(visitor)
    asked, may_answer = threading.Event(), threading.Event()

    def slow() -> None:
        asked.set()
        assert may_answer.wait(10)

    idp.hooks["/token"] = slow
    found: list[TokenSet] = []
    refreshing = threading.Thread(target=lambda: found.append(refreshed(visitor, held)))
    refreshing.start()
    assert asked.wait(10)
    sign_out(visitor)
    assert idp.revocations == []
    may_answer.set()
    refreshing.join(10)
    assert revoked(idp) == [found[0].refresh_token]
    assert idp.refresh_tokens == set()
    assert not idp.reused


# A provider that fails


FAILING: dict[str, Callable[[], Answer]] = {
    "server error": lambda: (500, "text/plain", b"canary-of-the-body"),
    "overloaded": lambda: (429, "text/plain", b""),
}


@pytest.mark.parametrize("how", FAILING)
def test_provider_that_cannot_answer_is_asked_again_a_few_times(
    idp: LogoutProvider, visitor: Visitor, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    visitor.sign_in(idp)
    idp.failing["/revoke"] = FAILING[how]
    asked: list[int] = []
    idp.hooks["/revoke"] = lambda: asked.append(1)
    sign_out(visitor)
    settled()
    assert len(asked) == 3
    assert "A grant of corp was not revoked: ProviderUnavailable" in caplog.text
    assert "canary" not in caplog.text


def test_provider_that_recovers_gets_it(idp: LogoutProvider, visitor: Visitor) -> None:
    visitor.sign_in(idp)
    idp.failing["/revoke"] = FAILING["server error"]
    asked: list[int] = []

    def recover() -> None:
        asked.append(1)
        if len(asked) == 2:
            idp.failing.clear()

    idp.hooks["/revoke"] = recover
    sign_out(visitor)
    assert len(revoked(idp)) == 1


def test_refusal_is_logged_and_not_repeated(
    idp: LogoutProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    visitor.sign_in(idp)
    idp.failing["/revoke"] = lambda: (400, "application/json", b'{"error": "canary"}')
    sign_out(visitor)
    settled()
    assert "A grant of corp was not revoked: the provider refuses." in caplog.text
    assert "canary" not in caplog.text


def test_provider_that_hangs_does_not_delay_the_sign_out(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    visitor.sign_in(idp)
    may_answer = threading.Event()

    def hang() -> None:
        may_answer.wait(10)

    idp.hooks["/revoke"] = hang
    started = time.monotonic()
    sign_out(visitor)
    took = time.monotonic() - started
    assert visitor.user_id is None
    may_answer.set()
    settled()
    assert took < 1


def test_sign_out_that_failed_revokes_nothing(
    idp: LogoutProvider, visitor: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.sign_in(idp)

    def down(*args: Any) -> None:
        raise TableUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(store.services.table, "delete", down)
        assert visitor.client.post("/accounts/logout/").status_code == 503
    assert visitor.user_id is not None
    assert revoked(idp) == []


def test_disconnect_that_was_not_saved_revokes_nothing(
    idp: LogoutProvider,
    second: LogoutProvider,
    visitor: Visitor,
    store: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visitor.sign_in(idp)
    visitor.connect(second)

    def down(*args: Any, **kwargs: Any) -> None:
        raise TableUnavailable

    account = SocialAccount.objects.get(provider="other")
    visitor.client.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr(store.services.table, "replace", down)
        response = visitor.client.post("/accounts/3rdparty/", {"account": account.pk})
    assert response.status_code == 503
    assert held_by(visitor, "other").refresh_token in second.refresh_tokens
    assert revoked(second) == []


def test_store_that_fails_afterwards_does_not_keep_the_grant_alive(
    idp: LogoutProvider, visitor: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.sign_in(idp)

    def down(*args: Any, **kwargs: Any) -> None:
        raise TableUnavailable

    monkeypatch.setattr(store.services.table, "put_stamped", down)
    sign_out(visitor)
    assert len(revoked(idp)) == 1


def test_logs_hold_no_token(
    idp: LogoutProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        visitor.sign_in(idp)
        sign_out(visitor)
        settled()
    said = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    assert "A grant of corp was revoked." in said
    assert len(idp.secrets) > 3
    assert [secret for secret in idp.secrets if secret in said] == []


# The background


def test_background_is_bounded_and_runs_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    pool = Background(threads=1, waiting=2)
    started, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return go_on.wait(10)

    futures = [pool.submit(work)]
    assert started.wait(10)
    futures += [pool.submit(work) for _ in range(3)]
    assert [future.cancelled() for future in futures] == [False, False, False, True]
    assert "something was dropped" in caplog.text
    assert not pool.drain(0)
    go_on.set()
    assert pool.drain(10)
    assert [future.result(0) for future in futures[:3]] == [True] * 3


def test_error_in_the_background_ends_no_thread() -> None:
    pool = Background(threads=1)
    failed = pool.submit(lambda: 1 // 0)
    assert pool.submit(lambda: 7).result(10) == 7
    assert isinstance(failed.exception(0), ZeroDivisionError)


@pytest.mark.parametrize(("seconds", "least", "most"), [(0.3, 0.3, 5.0), (60.0, 1.0, 6.0)])
def test_process_that_ends_waits_a_second_at_most(
    seconds: float, least: float, most: float
) -> None:
    work = f"background.submit(lambda: time.sleep({seconds}))"
    code = f"import time; from oauth import background; {work}"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)
    assert least <= time.monotonic() - started < most
