"""A gateway with a provider that supports all forms of sign-out."""

from collections.abc import Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from pytest_django import Settings

from oauth.network import concurrency
from oauth.provider.token_set import TokenSet
from tests.oauth.support.fixtures import Visitor, serving_corp, serving_other
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import successor_of
from tests.sessions_kms.support.stacks import Stack

PATH = "/oauth/backchannel-logout/corp"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def idp(store: Stack, settings: Settings) -> Iterator[LogoutProvider]:
    """Serve a provider with logout, configured as `corp`."""
    with serving_corp(LogoutProvider, store, settings) as provider:
        yield provider


@pytest.fixture
def second(idp: LogoutProvider, settings: Settings) -> Iterator[LogoutProvider]:
    """Serve another one, configured as `other`."""
    with serving_other(idp, settings) as provider:
        provider.session_id = "the-session-at-the-other"
        yield provider


@pytest.fixture
def at_idp(idp: LogoutProvider, visitor: Visitor) -> Visitor:
    visitor.sign_in(idp)
    return visitor


@pytest.fixture
def at_both(idp: LogoutProvider, second: LogoutProvider, visitor: Visitor) -> Visitor:
    """Return a person who signed in at `idp`, and connected an account of `second`."""
    visitor.sign_in(idp)
    visitor.connect(second)
    return visitor


def post(token: str, path: str = PATH, **headers: Any) -> Any:
    """Send a POST as the provider's server, without cookie and CSRF token, with CSRF checks on."""
    client = Client(enforce_csrf_checks=True)
    return client.post(path, f"logout_token={token}", content_type=FORM, **headers)


def assert_ends_session(visitor: Visitor, token: str, path: str = PATH) -> None:
    """Expect that a logout token is accepted, and that it ends the visitor's session."""
    response = post(token, path)
    assert response.status_code == 200, response.content
    assert visitor.user_id is None


def assert_refused(response: Any) -> None:
    """Expect the error response of OpenID Connect Back-Channel Logout 1.0, section 2.8."""
    assert response.status_code == 400, response.content
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "application/json"
    response = response.json()
    assert response["error"] == "invalid_request"
    assert response["error_description"]


def sign_out(visitor: Visitor) -> Any:
    response = visitor.client.post("/accounts/logout/")
    assert response.status_code == 302
    return response


def disconnect(visitor: Visitor, name: str) -> None:
    account = SocialAccount.objects.get(provider=name)
    visitor.client.post("/accounts/3rdparty/", {"account": account.pk})


def wait_until_settled() -> None:
    """Wait for the background work."""
    assert concurrency.drain_background(20)


def revoked_tokens(idp: LogoutProvider) -> list[str]:
    wait_until_settled()
    return [form["token"] for form in idp.revocations]


def refresh_tokens(visitor: Visitor, held: TokenSet) -> TokenSet:
    """Refresh a visitor's token set, as one of their requests would."""
    return successor_of(held).token_set
