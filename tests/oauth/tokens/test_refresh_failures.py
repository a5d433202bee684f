"""Failed refreshes keep the old token, are not repeated at once, and show no provider's text."""

import logging
from typing import Any

import pytest

import oauth
from oauth.tokens import refresh_coordinator
from oauth.tokens.refresh_coordinator import BACK_OFF, REJECTION_KEPT
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.provider_failures import CANARY, NONSENSE, respond_with
from tests.oauth.support.requests import assert_no_token, get_token, request_of, stored_tokens
from tests.sessions_kms.support.stacks import Stack

TRANSIENT = {
    **{name: NONSENSE[name] for name in NONSENSE if name != "not found"},
    "too many requests": respond_with(429, b'{"error": "invalid_grant"}'),
    "server error with a code": respond_with(500, b'{"error": "invalid_grant"}'),
    "too long": respond_with(200, b" " * 300_000),
    "no token": respond_with(200, b'{"token_type": "bearer"}'),
    "unknown error": respond_with(400, b'{"error": "slow_down"}'),
    "error that is no text": respond_with(400, b'{"error": ["invalid_grant"]}'),
    "not this client": respond_with(401, b'{"error": "invalid_client"}'),
    "malformed id token": respond_with(200, b'{"access_token": "a", "id_token": "b"}'),
}


def test_transient_failure_keeps_the_old_token(
    corp: FakeProvider, signed_in: Visitor, store: Stack, subtests: pytest.Subtests
) -> None:
    for what, response in TRANSIENT.items():
        with subtests.test(what):
            before = stored_tokens(signed_in)
            store.clock.advance(4000)
            corp.failing["/token"] = response
            assert_no_token(signed_in, oauth.ProviderUnavailable)
            assert stored_tokens(signed_in) == before

            corp.failing.clear()
            store.clock.advance(BACK_OFF)
            assert get_token(signed_in).access_token != before.access_token


def test_repeated_refresh_failures_log_identical_lines(
    corp: FakeProvider, expired: Visitor, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    corp.failing["/token"] = NONSENSE["no json"]
    for _ in range(3):
        assert_no_token(expired, oauth.ProviderUnavailable)
        store.clock.advance(BACK_OFF)
    lines = [line for line in caplog.messages if line.startswith("A refresh at corp failed: ")]
    assert len(set(lines)) == 1  # so the gateway's log has it once a minute (`OncePerMinute`)
    assert lines[0].endswith("cannot be parsed: it is HTML, status 200.")
    assert CANARY not in caplog.text


def test_provider_that_is_down_is_a_transient_failure(
    corp: FakeProvider, expired: Visitor, settings: Any
) -> None:
    configure(settings, environment("corp", corp, ISSUER="http://127.0.0.1:9"))
    assert_no_token(expired, oauth.ProviderUnavailable)


def test_failure_starts_a_back_off(corp: FakeProvider, expired: Visitor) -> None:
    asked = []
    corp.hooks["/token"] = lambda: asked.append(1)
    corp.failing["/token"] = NONSENSE["server error"]
    for _ in range(5):
        assert_no_token(expired, oauth.ProviderUnavailable)
    assert len(asked) == 1


def test_token_valid_for_seconds_is_returned_while_the_provider_fails(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    before = stored_tokens(signed_in)
    corp.failing["/token"] = NONSENSE["server error"]
    store.clock.now = (before.expires_at or 0) - 1
    assert get_token(signed_in) == before
    store.clock.advance(1)
    assert_no_token(signed_in, oauth.ProviderUnavailable)


def test_refresh_that_waited_too_long_for_a_thread_is_not_begun(
    corp: FakeProvider, expired: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could outlive its lease, and another process would spend the refresh token again."""
    with monkeypatch.context() as late:
        late.setattr(refresh_coordinator, "QUEUED_MAX", -1)
        with pytest.raises(oauth.ProviderUnavailable, match="Too many"):
            get_token(expired)
    assert corp.refreshes == []
    store.clock.advance(BACK_OFF)
    assert get_token(expired)
    assert len(corp.refreshes) == 1


@pytest.mark.parametrize("error", ["invalid_grant", "interaction_required", "bad_refresh_token"])
@pytest.mark.parametrize("status", [200, 400])
def test_rejected_grant_needs_a_sign_in_and_is_not_retried(
    corp: FakeProvider, expired: Visitor, store: Stack, error: str, status: int
) -> None:
    asked = []
    corp.hooks["/token"] = lambda: asked.append(1)
    corp.failing["/token"] = respond_with(status, f'{{"error": "{error}"}}'.encode())
    for _ in range(5):
        assert_no_token(expired, oauth.ReauthenticationRequired)
        refresh_coordinator._back_off._until.clear()  # the lease remembers, for all processes
    assert len(asked) == 1

    store.clock.advance(REJECTION_KEPT + 1)
    corp.failing.clear()
    assert get_token(expired).refresh_token in corp.refresh_tokens


def test_rejected_client_is_logged_as_an_error(
    corp: FakeProvider, expired: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    corp.failing["/token"] = TRANSIENT["not this client"]
    assert_no_token(expired, oauth.ProviderUnavailable)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "corp does not accept this gateway as its client (invalid_client)" in record.message


def test_redirect_of_a_refresh_is_not_followed(corp: FakeProvider, expired: Visitor) -> None:
    asked = []
    corp.hooks["/elsewhere"] = lambda: asked.append(1)
    corp.failing["/token"] = respond_with(302, b"", f"{corp.issuer}/elsewhere")
    assert_no_token(expired, oauth.ProviderUnavailable)
    assert asked == []


def test_providers_error_text_is_not_logged_or_raised(
    corp: FakeProvider, expired: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    body = f'{{"error": "{CANARY}", "error_description": "{CANARY}"}}'.encode()
    corp.failing["/token"] = respond_with(400, body)
    with caplog.at_level(logging.DEBUG), pytest.raises(oauth.ProviderUnavailable) as caught:
        get_token(expired)
    assert CANARY not in caplog.text
    assert CANARY not in str(caught.value)


def test_table_failure_after_the_response_loses_no_token(
    corp: FakeProvider, expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SessionStore, must_create: bool = False) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(SessionStore, "save", fail)
        assert_no_token(expired, StoreUnavailable)

    new = get_token(expired)
    assert new == stored_tokens(expired)
    assert new.refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1


def test_store_failure_before_the_request_spends_no_token(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    request = request_of(expired)
    request.session.get("x")
    store.dynamodb.unavailable = True
    with pytest.raises(StoreUnavailable):
        oauth.get_token(request, "corp")
    assert corp.refreshes == []
