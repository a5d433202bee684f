"""Failures of the provider or the store at a sign-out: retried in the background, and logged."""

import logging
import threading
from collections.abc import Callable

import pytest
from allauth.socialaccount.models import SocialAccount

from tests.oauth.support.fake_provider import Response
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.logout_fixtures import (
    revoked_tokens,
    sign_out,
    wait_until_settled,
)
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import stored_tokens
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack

FAILING: dict[str, Callable[[], Response]] = {
    "server error": lambda: (500, "text/plain", b"canary-of-the-body"),
    "overloaded": lambda: (429, "text/plain", b""),
}


@pytest.mark.parametrize("how", FAILING)
def test_revocation_is_retried_a_few_times(
    idp: LogoutProvider, at_idp: Visitor, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    idp.failing["/revoke"] = FAILING[how]
    asked: list[int] = []
    idp.hooks["/revoke"] = lambda: asked.append(1)
    sign_out(at_idp)
    wait_until_settled()
    assert len(asked) == 3
    assert "A grant of corp was not revoked: ProviderUnavailable" in caplog.text
    assert "canary" not in caplog.text


def test_revocation_succeeds_after_the_provider_recovers(
    idp: LogoutProvider, at_idp: Visitor
) -> None:
    idp.failing["/revoke"] = FAILING["server error"]
    asked: list[int] = []

    def recover() -> None:
        asked.append(1)
        if len(asked) == 2:
            idp.failing.clear()

    idp.hooks["/revoke"] = recover
    sign_out(at_idp)
    assert len(revoked_tokens(idp)) == 1


def test_refusal_is_logged_and_not_repeated(
    idp: LogoutProvider, at_idp: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    idp.failing["/revoke"] = lambda: (400, "application/json", b'{"error": "canary"}')
    sign_out(at_idp)
    wait_until_settled()
    assert "A grant of corp was not revoked: the provider refuses." in caplog.text
    assert "canary" not in caplog.text


def test_provider_that_hangs_does_not_delay_the_sign_out(
    idp: LogoutProvider, at_idp: Visitor
) -> None:
    may_response, gave_up = threading.Event(), threading.Event()

    def hang() -> None:
        if not may_response.wait(60):
            gave_up.set()

    idp.hooks["/revoke"] = hang
    sign_out(at_idp)
    assert not gave_up.is_set()  # The provider has not answered yet.
    assert at_idp.user_id is None
    may_response.set()
    wait_until_settled()


def test_sign_out_that_failed_revokes_nothing(
    idp: LogoutProvider, at_idp: Visitor, store: Stack
) -> None:
    store.dynamodb.on("DeleteItem session", refuse_write)
    assert at_idp.client.post("/accounts/logout/").status_code == 503
    store.dynamodb.heal()
    assert at_idp.user_id is not None
    assert revoked_tokens(idp) == []


def test_disconnect_that_was_not_saved_revokes_nothing(
    second: LogoutProvider, at_both: Visitor, store: Stack
) -> None:
    account = SocialAccount.objects.get(provider="other")
    at_both.client.raise_request_exception = False
    store.dynamodb.on("PutItem session", refuse_write)
    response = at_both.client.post("/accounts/3rdparty/", {"account": account.pk})
    store.dynamodb.heal()
    assert response.status_code == 503
    assert stored_tokens(at_both, "other").refresh_token in second.refresh_tokens
    assert revoked_tokens(second) == []


def test_store_that_fails_afterwards_does_not_keep_the_grant_alive(
    idp: LogoutProvider, at_idp: Visitor, store: Stack
) -> None:
    store.dynamodb.on("PutItem lease", refuse_write)
    sign_out(at_idp)
    assert len(revoked_tokens(idp)) == 1


def test_logs_hold_no_token(
    idp: LogoutProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        visitor.sign_in(idp)
        sign_out(visitor)
        wait_until_settled()
    said = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    assert "A grant of corp was revoked." in said
    assert len(idp.secrets) > 3
    assert [secret for secret in idp.secrets if secret in said] == []
