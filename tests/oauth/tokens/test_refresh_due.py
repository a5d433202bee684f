"""When a token is refreshed, and when it is not."""

from typing import Any

import pytest

import oauth
from oauth.tokens.fresh_token import REJECTED_AGE
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.provider_failures import NONSENSE
from tests.oauth.support.requests import assert_no_token, get_token, request_of, stored_tokens
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack


def test_fresh_token_is_returned_without_a_call(corp: FakeProvider, signed_in: Visitor) -> None:
    assert get_token(signed_in) == stored_tokens(signed_in)
    assert corp.refreshes == []


@pytest.mark.parametrize(("left", "refreshes"), [(61, 0), (60, 1), (1, 1), (0, 1), (-9999, 1)])
def test_token_is_refreshed_within_the_leeway(
    corp: FakeProvider, signed_in: Visitor, store: Stack, left: int, refreshes: int
) -> None:
    end = stored_tokens(signed_in).expires_at or 0
    store.clock.now = end - left
    get_token(signed_in)
    assert len(corp.refreshes) == refreshes


def test_leeway_is_configurable(
    corp: FakeProvider, signed_in: Visitor, store: Stack, settings: Any
) -> None:
    configure(settings, environment("corp", corp, REFRESH_LEEWAY="600"))
    store.clock.now = (stored_tokens(signed_in).expires_at or 0) - 599
    get_token(signed_in)
    assert len(corp.refreshes) == 1


def test_short_token_is_not_refreshed_at_each_call(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    corp.expires_in = 40
    visitor.sign_in(corp)
    store.clock.advance(15)
    get_token(visitor)
    assert corp.refreshes == []
    store.clock.advance(10)
    get_token(visitor)
    get_token(visitor)
    assert len(corp.refreshes) == 1


def test_token_that_expires_on_issue_is_still_returned(
    corp: FakeProvider, expired: Visitor
) -> None:
    corp.expires_in = 0
    assert get_token(expired) == stored_tokens(expired)
    assert len(corp.refreshes) == 1


def test_token_without_expiry_is_returned_unchanged(
    github: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(github, "github")
    store.clock.advance(24 * 3600)
    assert get_token(visitor, "github") == stored_tokens(visitor, "github")


def test_token_without_refresh_token_is_used_until_it_expires(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    corp.gives_refresh_token = False
    visitor.sign_in(corp)
    store.clock.now = (stored_tokens(visitor).expires_at or 0) - 1
    assert get_token(visitor).access_token in corp.secrets
    store.clock.advance(1)
    assert_no_token(visitor, oauth.ReauthenticationRequired)


def test_expired_refresh_token_is_not_sent(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    corp.more_of_token_response = {"refresh_expires_in": 7200}
    visitor.sign_in(corp)
    store.clock.advance(7200)
    assert_no_token(visitor, oauth.ReauthenticationRequired)
    assert corp.refreshes == []


def test_refresh_token_of_another_client_is_not_sent(
    corp: FakeProvider, expired: Visitor, settings: Any
) -> None:
    configure(settings, environment("corp", corp, CLIENT_ID="another-client"))
    assert_no_token(expired, oauth.ReauthenticationRequired)
    assert corp.refreshes == []


def test_valid_token_is_returned_while_the_lease_is_unavailable(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    held = stored_tokens(signed_in)
    request = request_of(signed_in)
    request.session.load()
    store.clock.now = (held.expires_at or 0) - 30
    store.dynamodb.on("PutItem lease", refuse_write)
    assert oauth.get_token(request, "corp") == held
    store.clock.now = held.expires_at or 0
    with pytest.raises(StoreUnavailable):
        oauth.get_token(request, "corp")
    assert corp.refreshes == []


def test_session_without_token_is_not_connected(corp: FakeProvider, visitor: Visitor) -> None:
    assert_no_token(visitor, oauth.NotConnected)


def test_unknown_provider_is_not_connected(signed_in: Visitor) -> None:
    assert_no_token(signed_in, oauth.NotConnected, "nobody")


# Refused by an upstream


def test_rejected_token_is_refreshed_before_it_expires(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(REJECTED_AGE)
    refused = get_token(signed_in)
    new = get_token(signed_in, rejected=refused)
    assert new.access_token != refused.access_token
    assert get_token(signed_in, rejected=refused) == new
    assert len(corp.refreshes) == 1


def test_rejected_token_that_was_just_issued_is_returned_unchanged(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(REJECTED_AGE - 1)
    refused = get_token(signed_in)
    assert get_token(signed_in, rejected=refused) == refused
    assert corp.refreshes == []


def test_rejected_token_is_not_returned_when_it_cannot_be_refreshed(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(REJECTED_AGE)
    refused = get_token(signed_in)
    corp.failing["/token"] = NONSENSE["server error"]
    assert_no_token(signed_in, oauth.ProviderUnavailable, rejected=refused)


def test_rejected_token_without_refresh_token_needs_a_sign_in(
    github: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(github, "github")
    store.clock.advance(REJECTED_AGE)
    assert_no_token(
        visitor, oauth.ReauthenticationRequired, "github", rejected=stored_tokens(visitor, "github")
    )
