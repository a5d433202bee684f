"""Signing out revokes the grant at the provider: afterwards, and never the wrong one."""

import pytest
from django.contrib.auth import get_user_model
from pytest_django import Settings

from tests.oauth.support.email_stage import confirm_addresses
from tests.oauth.support.fixtures import BOB, Visitor, configure, environment
from tests.oauth.support.logout_fixtures import (
    disconnect,
    refresh_tokens,
    revoked_tokens,
    sign_out,
    wait_until_settled,
)
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import stored_tokens
from tests.sessions_kms.support.stacks import Stack


def test_sign_out_revokes_the_refresh_token_once(idp: LogoutProvider, at_idp: Visitor) -> None:
    held = stored_tokens(at_idp)
    sign_out(at_idp)
    assert at_idp.user_id is None
    assert revoked_tokens(idp) == [held.refresh_token]
    assert idp.revocations[0]["token_type_hint"] == "refresh_token"
    assert idp.refresh_tokens == set()


def test_without_refresh_token_the_access_token_is_revoked(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    idp.gives_refresh_token = False
    visitor.sign_in(idp)
    held = stored_tokens(visitor)
    sign_out(visitor)
    assert revoked_tokens(idp) == [held.access_token]
    assert idp.revocations[0]["token_type_hint"] == "access_token"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_authenticates_as_at_the_token_endpoint(
    idp: LogoutProvider, visitor: Visitor, method: str
) -> None:
    idp.auth_method = method
    visitor.sign_in(idp)
    sign_out(visitor)
    assert len(revoked_tokens(idp)) == 1


def test_session_is_gone_before_the_grant_is(
    idp: LogoutProvider, at_idp: Visitor, store: Stack
) -> None:
    there: list[int] = []
    idp.hooks["/revoke"] = lambda: there.append(len(store.sessions()))
    sign_out(at_idp)
    wait_until_settled()
    assert there == [0]


def test_sign_out_revokes_at_every_connected_provider(
    idp: LogoutProvider, second: LogoutProvider, at_both: Visitor
) -> None:
    first, other = stored_tokens(at_both), stored_tokens(at_both, "other")
    sign_out(at_both)
    assert revoked_tokens(idp) == [first.refresh_token]
    assert revoked_tokens(second) == [other.refresh_token]


def test_sign_out_in_the_admin_revokes_too(idp: LogoutProvider, at_idp: Visitor) -> None:
    get_user_model().objects.update(is_staff=True)
    assert at_idp.client.post("/admin/logout/").status_code == 200
    assert len(revoked_tokens(idp)) == 1


def test_provider_without_revocation_endpoint_is_not_called(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    idp.more_of_metadata = {"revocation_endpoint": None}
    visitor.sign_in(idp)
    sign_out(visitor)
    assert revoked_tokens(idp) == []


# Not the wrong one


def test_signing_in_again_revokes_nothing(idp: LogoutProvider, at_idp: Visitor) -> None:
    at_idp.sign_in(idp)
    assert revoked_tokens(idp) == []
    assert stored_tokens(at_idp).refresh_token in idp.refresh_tokens


def test_signing_in_again_without_a_new_refresh_token_keeps_the_old_one_alive(
    idp: LogoutProvider, at_idp: Visitor
) -> None:
    first = stored_tokens(at_idp)
    idp.gives_refresh_token = False
    at_idp.sign_in(idp)
    assert revoked_tokens(idp) == []
    assert stored_tokens(at_idp).refresh_token == first.refresh_token
    idp.gives_refresh_token = True
    assert refresh_tokens(at_idp, stored_tokens(at_idp)).refresh_token in idp.refresh_tokens


def test_signing_in_again_revokes_nothing_of_the_other_providers(
    idp: LogoutProvider, second: LogoutProvider, at_both: Visitor
) -> None:
    at_both.sign_in(idp)
    assert stored_tokens(at_both, "other").refresh_token in second.refresh_tokens
    assert (revoked_tokens(idp), revoked_tokens(second)) == ([], [])


def test_signing_in_again_revokes_nothing_while_a_stage_is_pending(
    idp: LogoutProvider, second: LogoutProvider, at_both: Visitor, settings: Settings
) -> None:
    confirm_addresses(settings)

    response = at_both.sign_in(idp)

    assert response["Location"] == "/accounts/confirm-email/"
    assert at_both.user_id is None
    assert (revoked_tokens(idp), revoked_tokens(second)) == ([], [])


def test_connecting_again_revokes_nothing(second: LogoutProvider, at_both: Visitor) -> None:
    at_both.connect(second)
    assert revoked_tokens(second) == []


@pytest.mark.parametrize("process", ["login", "connect"])
def test_signing_in_as_another_or_connecting_them_revokes_the_first_ones_grant(
    idp: LogoutProvider, at_idp: Visitor, process: str
) -> None:
    ada = stored_tokens(at_idp)
    idp.person = BOB
    at_idp.sign_in(idp, process=process)
    assert stored_tokens(at_idp).subject == "2002"
    assert revoked_tokens(idp) == [ada.refresh_token]
    assert stored_tokens(at_idp).refresh_token in idp.refresh_tokens


def test_signing_in_with_another_own_account_revokes_the_first_grant(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    ada = idp.person
    visitor.sign_in(idp)
    idp.person = BOB
    visitor.connect(idp, "corp")
    bob, user_id = stored_tokens(visitor), visitor.user_id
    wait_until_settled()
    idp.person = ada
    visitor.sign_in(idp)
    assert (stored_tokens(visitor).subject, visitor.user_id) == ("1001", user_id)
    assert revoked_tokens(idp)[1:] == [bob.refresh_token]
    assert stored_tokens(visitor).refresh_token in idp.refresh_tokens


def test_disconnecting_revokes_that_grant_and_no_other(
    idp: LogoutProvider, second: LogoutProvider, at_both: Visitor
) -> None:
    other = stored_tokens(at_both, "other")
    disconnect(at_both, "other")
    assert revoked_tokens(second) == [other.refresh_token]
    assert revoked_tokens(idp) == []
    assert at_both.user_id is not None


def test_token_of_another_client_is_not_sent_to_the_provider(
    idp: LogoutProvider, at_idp: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", idp, CLIENT_ID="the-client-of-today"))
    sign_out(at_idp)
    assert revoked_tokens(idp) == []
