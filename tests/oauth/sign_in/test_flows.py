"""Every path through allauth: whose session gets a token, and whose does not."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount import views
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.urls import path
from pytest_django import Settings

from gateway_site.urls import urlpatterns as project
from oauth.tokens.vault import session_key
from tests.oauth.support.email_stage import OutboxAdapter, confirm_addresses
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor
from tests.oauth.support.requests import stored_tokens

urlpatterns = [
    path("accounts/3rdparty/signup/", views.signup, name="socialaccount_signup"),
    *project,
]


ADA = {"sub": "1001", "email": "ada@example.com", "name": "Ada Lovelace"}


def token_keys(visitor: Visitor) -> list[str]:
    return sorted(key for key in visitor.session.keys() if key.startswith("oauth:"))  # noqa: SIM118  (a session is no dict)


# Connecting another account


def test_connect_keeps_the_token_beside_the_first(other: FakeProvider, signed_in: Visitor) -> None:
    first = signed_in.load_tokens()
    user = signed_in.user_id

    response = signed_in.connect(other)

    assert (response.status_code, response["Location"]) == (302, "/")
    assert signed_in.user_id == user
    assert signed_in.load_tokens() == first
    held = stored_tokens(signed_in, "other")
    assert held.access_token in other.secrets
    assert held.id_token in other.secrets
    assert SocialAccount.objects.filter(user_id=user).count() == 2


def test_connect_again_renews_the_token(other: FakeProvider, connected: Visitor) -> None:
    first = connected.load_tokens("other")

    connected.connect(other)

    second = connected.load_tokens("other")
    assert first is not None
    assert second is not None
    assert second.access_token != first.access_token


def test_connecting_the_account_of_another_user_yields_no_token(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    bob = Visitor()
    other.person = BOB
    bob.sign_in(other, "other")
    visitor.sign_in(corp)

    visitor.connect(other)  # Ada's browser, Bob's account at the other provider

    assert visitor.load_tokens("other") is None
    assert token_keys(visitor) == ["oauth:corp"]
    assert visitor.user_id != bob.user_id
    assert bob.load_tokens("other") is not None


def test_connecting_while_signed_out_gives_no_token(corp: FakeProvider, visitor: Visitor) -> None:
    Visitor().sign_in(corp)  # the account exists
    visitor.connect(corp, "corp")
    assert visitor.user_id is None
    assert token_keys(visitor) == []


def test_redirect_only_process_gives_no_token(corp: FakeProvider, signed_in: Visitor) -> None:
    first = signed_in.load_tokens()
    signed_in.sign_in(corp, process="redirect", next="/")
    assert signed_in.load_tokens() == first


def test_disconnecting_drops_the_token(
    corp: FakeProvider, other: FakeProvider, connected: Visitor
) -> None:
    account = SocialAccount.objects.get(provider="other")

    connected.client.post("/accounts/3rdparty/", {"account": account.pk})

    assert token_keys(connected) == ["oauth:corp"]
    assert not SocialAccount.objects.filter(provider="other").exists()


def test_disconnecting_one_of_two_accounts_keeps_the_other_ones_token(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    corp.person = BOB
    signed_in.connect(corp, "corp")
    held = stored_tokens(signed_in)
    assert held.subject == "2002"
    account = SocialAccount.objects.get(uid="1001")
    signed_in.client.post("/accounts/3rdparty/", {"account": account.pk})

    assert signed_in.load_tokens() == held


# Signing in again


def test_signing_in_again_replaces_the_token(corp: FakeProvider, signed_in: Visitor) -> None:
    first = stored_tokens(signed_in)
    signed_in.sign_in(corp)
    second = stored_tokens(signed_in)
    assert second.access_token != first.access_token
    assert second.refresh_token != first.refresh_token


def test_signing_in_again_keeps_the_tokens_of_the_other_providers(
    corp: FakeProvider, other: FakeProvider, connected: Visitor
) -> None:
    kept, replaced = connected.load_tokens("other"), connected.load_tokens()

    connected.sign_in(corp)

    assert connected.load_tokens("other") == kept
    assert kept is not None
    assert connected.load_tokens() not in (None, replaced)
    assert token_keys(connected) == ["oauth:corp", "oauth:other"]


def test_signing_in_again_with_the_other_provider_keeps_the_first(
    corp: FakeProvider, other: FakeProvider, connected: Visitor
) -> None:
    first = connected.load_tokens()
    connected.sign_in(other, "other")
    assert connected.load_tokens() == first
    assert token_keys(connected) == ["oauth:corp", "oauth:other"]


def test_signing_in_as_another_keeps_nothing_of_the_first(
    corp: FakeProvider, connected: Visitor
) -> None:
    ada = connected.user_id
    corp.person = BOB
    corp.gives_refresh_token = False

    connected.sign_in(corp)

    held = stored_tokens(connected)
    assert connected.user_id not in (None, ada)
    assert (held.subject, held.refresh_token) == ("2002", None)
    assert token_keys(connected) == ["oauth:corp"]


def test_same_account_without_a_new_refresh_token_keeps_the_old_one_and_its_grant_secret(
    corp: FakeProvider, signed_in: Visitor
) -> None:
    first = stored_tokens(signed_in)
    corp.gives_refresh_token = False
    signed_in.sign_in(corp)
    second = stored_tokens(signed_in)
    assert second.refresh_token == first.refresh_token
    assert second.grant_secret == first.grant_secret
    assert second.access_token != first.access_token


def test_old_refresh_token_that_grants_more_is_dropped(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.scope = "openid email calendar"
    visitor.sign_in(corp)
    corp.scope = "openid email"
    corp.gives_refresh_token = False
    visitor.sign_in(corp)
    assert stored_tokens(visitor).refresh_token is None


def test_old_refresh_token_of_a_new_session_is_gone(corp: FakeProvider, signed_in: Visitor) -> None:
    signed_in.client.post("/accounts/logout/")
    corp.gives_refresh_token = False
    signed_in.sign_in(corp)
    assert stored_tokens(signed_in).refresh_token is None


# Accounts that may not sign in


def test_inactive_account_gets_no_token(corp: FakeProvider, visitor: Visitor) -> None:
    Visitor().sign_in(corp)
    get_user_model().objects.update(is_active=False)

    response = visitor.sign_in(corp)

    assert response["Location"] == "/accounts/inactive/"
    assert visitor.user_id is None
    assert token_keys(visitor) == []
    assert b"not active" in visitor.client.get("/accounts/inactive/").content


def test_session_of_an_account_closed_meanwhile_gives_nothing_to_the_next(
    other: FakeProvider, signed_in: Visitor
) -> None:
    get_user_model().objects.update(is_active=False)
    other.person = BOB

    signed_in.sign_in(other, "other")

    assert token_keys(signed_in) == ["oauth:other"]


# Unfinished sign-ups, which this project has none of and another one may


@pytest.fixture
def asking(corp: FakeProvider, other: FakeProvider, settings: Settings) -> FakeProvider:
    """Give a provider that nobody came by yet, in a project that asks new people who they are."""
    Visitor().sign_in(corp)
    settings.ROOT_URLCONF = __name__
    settings.SOCIALACCOUNT_AUTO_SIGNUP = False
    return other


def test_unfinished_sign_up_stores_no_token(asking: FakeProvider, visitor: Visitor) -> None:
    response = visitor.sign_in(asking, "other")
    assert response["Location"] == "/accounts/3rdparty/signup/"
    assert visitor.user_id is None
    assert token_keys(visitor) == []


def test_finished_sign_up_keeps_the_whole_token_set(asking: FakeProvider, visitor: Visitor) -> None:
    asking.more_of_token_response = {
        "refresh_expires_in": 86400,
        "access_token": "a" * 5_000,
        "refresh_token": "r" * 5_000,
    }
    asking.people_of_tokens["a" * 5_000] = asking.person
    visitor.sign_in(asking, "other")

    page = visitor.client.get("/accounts/3rdparty/signup/")
    begun_meanwhile = visitor.start()
    form = {"username": "ada2", "email": "ada2@example.com"}
    response = visitor.client.post("/accounts/3rdparty/signup/", form)

    assert page.status_code == 200
    assert b"ada@example.com" not in page.content  # It is somebody else's here.
    assert begun_meanwhile.status_code == 302
    assert (response.status_code, response["Location"]) == (302, "/")
    held = stored_tokens(visitor, "other")
    assert held.access_token == "a" * 5_000
    assert held.refresh_token == "r" * 5_000
    assert held.id_token in asking.secrets
    assert held.refresh_expires_at is not None
    assert held.scope == ("openid", "profile", "email")
    assert "socialaccount_sociallogin" not in visitor.session


def test_abandoned_sign_up_leaves_no_token_to_the_next_person(
    asking: FakeProvider, corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    visitor.sign_in(asking, "other")
    settings.SOCIALACCOUNT_AUTO_SIGNUP = True
    corp.person = BOB

    visitor.sign_in(corp)

    assert token_keys(visitor) == ["oauth:corp"]
    assert "socialaccount_sociallogin" not in visitor.session


# The e-mail stage, which this project has switched off and another one may use


@pytest.fixture
def outbox(settings: Settings) -> list[dict[str, Any]]:
    confirm_addresses(settings)
    OutboxAdapter.outbox.clear()
    return OutboxAdapter.outbox


def test_token_waits_for_the_end_of_the_email_stage(
    corp: FakeProvider, visitor: Visitor, outbox: list[dict[str, Any]]
) -> None:
    response = visitor.sign_in(corp)
    assert response["Location"] == "/accounts/confirm-email/"
    assert visitor.user_id is None
    assert token_keys(visitor) == []

    code = outbox[0]["code"]
    response = visitor.client.post("/accounts/confirm-email/", {"code": code})

    assert response.status_code == 302, response.content
    assert EmailAddress.objects.get().verified
    held = stored_tokens(visitor)
    assert held.access_token in corp.secrets
    assert held.id_token in corp.secrets
    assert not any(secret in repr(outbox) for secret in corp.secrets)


def test_token_is_kept_under_one_top_level_key(corp: FakeProvider, signed_in: Visitor) -> None:
    holding = {
        key
        for key, value in signed_in.session.items()
        if any(secret in repr(value) for secret in corp.secrets)
    }
    assert holding == {session_key("corp")}
