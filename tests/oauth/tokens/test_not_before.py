"""Ending the grants of one provider: tokens are refused, sessions stay, a new consent mends it."""

import pytest

import oauth
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations import ending
from sessions_kms.services import services
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import assert_no_token, get_token, request_of, stored_tokens
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.stacks import Stack, install


def end_grants(store: Stack, provider: str = "corp") -> None:
    """End the grants given until now, a second before what follows."""
    ending.end_before_of(services(), provider, int(store.clock()))
    store.clock.advance(1)


def test_ended_grant_needs_a_new_consent_and_the_session_stays(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    assert get_token(signed_in) == stored_tokens(signed_in)
    end_grants(store)
    assert_no_token(signed_in, oauth.ReauthenticationRequired)
    assert signed_in.user_id is not None
    assert corp.refreshes == []


async def test_ended_grant_is_refused_in_async_views_too(signed_in: Visitor, store: Stack) -> None:
    end_grants(store)
    with pytest.raises(oauth.ReauthenticationRequired):
        await oauth.aget_token(request_of(signed_in), "corp")


def test_expired_token_of_an_ended_grant_is_not_refreshed(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    end_grants(store)
    assert_no_token(expired, oauth.ReauthenticationRequired)
    assert corp.refreshes == []


def test_refresh_keeps_the_time_of_the_grant(expired: Visitor) -> None:
    granted_at = stored_tokens(expired).granted_at
    get_token(expired)
    assert stored_tokens(expired).granted_at == granted_at
    ending.end_before_of(services(), "corp", granted_at)
    assert_no_token(expired, oauth.ReauthenticationRequired)


def test_grants_of_another_provider_stay_valid(other: FakeProvider, signed_in: Visitor) -> None:
    signed_in.connect(other)
    ending.end_before_of(services(), "corp", stored_tokens(signed_in, "other").granted_at)
    assert get_token(signed_in, "other") == stored_tokens(signed_in, "other")


def test_later_grant_stays_valid(signed_in: Visitor) -> None:
    ending.end_before_of(services(), "corp", stored_tokens(signed_in).granted_at - 1)
    assert get_token(signed_in) == stored_tokens(signed_in)


def test_new_consent_after_the_end_is_valid(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    end_grants(store)
    signed_in.connect(corp, "corp")
    assert get_token(signed_in) == stored_tokens(signed_in)


@pytest.mark.parametrize("process", ["connect", "login"])
def test_new_consent_without_refresh_token_does_not_keep_the_ended_one(
    corp: FakeProvider, signed_in: Visitor, store: Stack, process: str
) -> None:
    end_grants(store)
    corp.gives_refresh_token = False
    signed_in.sign_in(corp, process=process)
    assert get_token(signed_in).refresh_token is None


def test_kept_refresh_token_keeps_the_time_of_its_grant(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    first = stored_tokens(signed_in)
    store.clock.advance(100)
    corp.gives_refresh_token = False
    signed_in.connect(corp, "corp")
    kept = stored_tokens(signed_in)
    assert (kept.refresh_token, kept.granted_at) == (first.refresh_token, first.granted_at)
    ending.end_before_of(services(), "corp", first.granted_at)
    assert_no_token(signed_in, oauth.ReauthenticationRequired)
    store.clock.advance(1)
    signed_in.connect(corp, "corp")
    assert get_token(signed_in).refresh_token is None


def test_token_set_without_a_time_of_grant_is_good_until_any_are_ended(signed_in: Visitor) -> None:
    session = SessionStore(signed_in.session.session_key)
    del session[vault.session_key("corp")]["granted_at"]
    session.save()
    assert stored_tokens(signed_in).granted_at == 0
    get_token(signed_in)
    ending.end_before_of(services(), "corp", 1)
    assert_no_token(signed_in, oauth.ReauthenticationRequired)


@pytest.mark.parametrize("moment", ["yesterday", 1.5, True])
def test_time_of_grant_must_be_an_integer(signed_in: Visitor, moment: object) -> None:
    data = stored_tokens(signed_in).to_session() | {"granted_at": moment}
    with pytest.raises(ValueError, match="whole number"):
        TokenSet.from_session(data)


def test_cutoff_is_read_every_30_seconds_and_not_on_each_call(
    signed_in: Visitor, store: Stack
) -> None:
    for _ in range(3):
        get_token(signed_in)
    calls = store.dynamodb.calls
    calls.clear()
    get_token(signed_in)
    assert "GetItem not-before" not in calls
    store.clock.advance(30)
    get_token(signed_in)
    get_token(signed_in)
    assert calls.count("GetItem not-before") == 2  # that of the sessions, and the provider's


def test_cutoff_in_the_future_ends_no_grant_and_is_overwritten(
    signed_in: Visitor, store: Stack
) -> None:
    far = {"N": str(int(store.clock()) + 86_400)}
    store.put_item({"id": {"S": "not-before#django#corp"}, "version": {"N": "1"}, "notBefore": far})
    assert get_token(signed_in) == stored_tokens(signed_in)
    done = end("--provider", "corp", "--before", str(int(store.clock())), "--json")
    assert (done.status, done.json["raised"]) == (0, True)
    assert_no_token(signed_in, oauth.ReauthenticationRequired)


def test_unreadable_cutoff_returns_no_token(signed_in: Visitor, store: Stack) -> None:
    store.put_item({"id": {"S": "not-before#django#corp"}, "version": {"N": "1"}})
    install(store.services)
    assert_no_token(signed_in, StoreUnavailable)


def test_command_ends_the_grants_of_one_provider(signed_in: Visitor, store: Stack) -> None:
    moment = str(int(store.clock()))
    done = end("--provider", "corp", "--before", moment, "--json")
    assert done.json == {"provider": "corp", "moment": int(moment), "raised": True}
    assert_no_token(signed_in, oauth.ReauthenticationRequired)
    assert signed_in.user_id is not None


@pytest.mark.usefixtures("corp")
def test_command_rejects_an_unknown_provider_and_names_the_configured_ones(
    store: Stack,
) -> None:
    done = end("--provider", "crop", "--before", "1")
    assert (done.status, "Known providers: corp." in done.err) == (2, True)
    assert "not-before#django#crop" not in store.items()


def test_connections_page_asks_for_a_new_consent(signed_in: Visitor, store: Stack) -> None:
    assert "please re-authenticate" not in page(signed_in)
    end_grants(store)
    assert "please re-authenticate" in page(signed_in)


def page(visitor: Visitor) -> str:
    return visitor.client.get("/").content.decode()
