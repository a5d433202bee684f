"""A refresh ends the session of a person who is no longer allowed to sign in."""

from functools import partial
from typing import Any

import pytest
from pytest_django import Settings

import oauth
from oauth.exceptions import NoLongerAllowed, NotConnected, ReauthenticationRequired
from oauth.network import concurrency
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import assert_no_token, get_token, request_of, stored_tokens

ADA = {"email": "ada@example.com", "email_verified": True, "groups": ["staff"]}
RULE = {"ALLOWED_DOMAINS": "example.com", "ALLOWED_GROUPS": "staff,ops"}


@pytest.fixture
def ada(corp: FakeProvider, visitor: Visitor, settings: Settings) -> Visitor:
    configure(settings, environment("corp", corp, **RULE))
    corp.more_of_id_token = dict(ADA)
    assert visitor.sign_in(corp).status_code == 302
    return visitor


def refresh_with(corp: FakeProvider, ada: Visitor, claims: dict[str, Any], *, left: int = 0) -> Any:
    """Refresh with an id token that tells this; ``left`` is what the old token has, in seconds."""
    corp.more_of_id_token = claims
    corp.clock.now += 3600 - left  # type: ignore[attr-defined]
    return get_token(ada)


@pytest.mark.parametrize(
    "told",
    [
        {"groups": []},
        {"groups": ["canteen"]},
        {"email": "ada@example.org", "email_verified": True},
        {"email": "ada@example.com", "email_verified": False},
    ],
)
@pytest.mark.parametrize("left", [0, 30])  # good for a while, too
def test_session_ends_when_the_new_id_token_fails_the_rule(
    corp: FakeProvider, ada: Visitor, told: dict[str, Any], left: int
) -> None:
    key = ada.session.session_key
    with pytest.raises(NoLongerAllowed):
        refresh_with(corp, ada, told, left=left)
    assert SessionStore(key).load() == {}
    assert ada.client.get("/gateway/").status_code == 401


@pytest.mark.parametrize(
    "told", [{}, {"_claim_names": {"groups": "s"}}, {"groups": {"odd": 1}}, {"email": None}]
)
def test_missing_claims_end_no_session(
    corp: FakeProvider, ada: Visitor, told: dict[str, Any]
) -> None:
    before = stored_tokens(ada).access_token
    assert refresh_with(corp, ada, told).access_token != before
    assert stored_tokens(ada).groups == ("staff",)


def test_email_from_userinfo_stays_valid_at_a_refresh(
    corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_DOMAINS="example.com"))
    corp.more_of_id_token = {"email": "ada@example.com"}
    corp.person |= {"email_verified": True}
    assert visitor.sign_in(corp).status_code == 302
    assert refresh_with(corp, visitor, {"email": "ada@example.com"}).access_token in corp.secrets


def test_groups_of_the_session_are_updated_by_a_refresh(corp: FakeProvider, ada: Visitor) -> None:
    refresh_with(corp, ada, {"groups": ["ops", "canteen"]})
    assert stored_tokens(ada).groups == ("ops",)


def test_stricter_rule_ends_the_session_at_its_next_refresh(
    corp: FakeProvider, ada: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_GROUPS="ops"))
    with pytest.raises(NoLongerAllowed):
        refresh_with(corp, ada, dict(ADA))


def test_request_with_an_old_copy_finds_the_session_ended(corp: FakeProvider, ada: Visitor) -> None:
    request = request_of(ada)
    assert vault.load_token_set(request.session, "corp") is not None
    with pytest.raises(NoLongerAllowed):
        refresh_with(corp, ada, {"groups": []})
    with pytest.raises((NotConnected, ReauthenticationRequired)):
        oauth.get_token(request, "corp")
    assert len(corp.refreshes) == 1


def test_only_the_connection_ends_if_the_sign_in_used_another_account(
    corp: FakeProvider, other: FakeProvider, signed_in: Visitor, settings: Settings
) -> None:
    corp_variables = environment("corp", corp, CLIENT_ID="the-corp-client")
    configure(settings, corp_variables | environment("other", other, ALLOWED_GROUPS="staff"))
    other.more_of_id_token = {"groups": ["staff"]}
    signed_in.connect(other)
    other.more_of_id_token = {"groups": []}
    corp.clock.now += 3600  # type: ignore[attr-defined]
    assert_no_token(signed_in, NoLongerAllowed, "other")
    assert vault.stored_providers(signed_in.session) == ["corp"]
    assert signed_in.user_id is not None


def test_all_grants_of_the_session_that_ends_are_revoked(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    revoked: list[str] = []
    variables: dict[str, str] = {}
    for name, provider, client in (("corp", corp, "the-corp-client"), ("other", other, "")):
        more = {"CLIENT_ID": client} if client else {}
        url = f"{provider.issuer}/revoke"
        rule = RULE if name == "corp" else {}
        variables |= environment(name, provider, REVOCATION_URL=url, **more, **rule)
        provider.hooks["/revoke"] = partial(revoked.append, name)
        provider.failing["/revoke"] = lambda: (200, "text/plain", b"")
    configure(settings, variables)
    corp.more_of_id_token = dict(ADA)
    visitor.sign_in(corp)
    visitor.connect(other)
    with pytest.raises(NoLongerAllowed):
        refresh_with(corp, visitor, {"groups": []})
    assert concurrency.drain_background(10)
    assert set(revoked) == {"corp", "other"}


def test_no_token_is_returned_if_the_session_cannot_be_ended(
    corp: FakeProvider, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: SessionStore) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(SessionStore, "flush", unreachable)
    with pytest.raises(StoreUnavailable):
        refresh_with(corp, ada, {"groups": []}, left=30)  # good for a while, too
    monkeypatch.undo()
    assert_no_token(ada, NoLongerAllowed)
