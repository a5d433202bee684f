"""A grant is revoked once, with the tokens of the latest refresh."""

import threading
from dataclasses import replace

import pytest

from oauth.exceptions import OAuthError
from oauth.provider.refresh_lease import LEASE_SECONDS
from oauth.provider.token_set import TokenSet
from oauth.tokens.remaining_access import RemainingAccess
from oauth.tokens.revocation import revoke_soon
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.services import services
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.logout_fixtures import (
    refresh_tokens,
    revoked_tokens,
    sign_out,
    wait_until_settled,
)
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.provider_failures import stall
from tests.oauth.support.requests import stored_tokens
from tests.sessions_kms.support.stacks import Stack, install


def test_two_sign_outs_of_one_session_revoke_once(idp: LogoutProvider, at_idp: Visitor) -> None:
    held = stored_tokens(at_idp)
    for _ in range(2):
        revoke_soon(services(), "corp", held, RemainingAccess(services(), None))
    assert revoked_tokens(idp) == [held.refresh_token]


def test_lease_of_a_dead_process_does_not_keep_a_grant_alive(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    install(replace(store.services, sleep=lambda _: None))  # There is nobody to wait for.
    visitor.sign_in(idp)
    held = stored_tokens(visitor)
    run_sync(Leases(services()).claim(held.grant_secret, "of the dead", seconds=LEASE_SECONDS))
    revoke_soon(services(), "corp", held, RemainingAccess(services(), None))
    assert revoked_tokens(idp) == [held.refresh_token]


def test_no_refresh_begins_after_the_sign_out(idp: LogoutProvider, at_idp: Visitor) -> None:
    held = stored_tokens(at_idp)
    sign_out(at_idp)
    wait_until_settled()
    with pytest.raises(OAuthError):
        refresh_tokens(at_idp, held)
    assert idp.refreshes == []


def test_what_a_refresh_fetched_before_is_revoked(idp: LogoutProvider, at_idp: Visitor) -> None:
    new = refresh_tokens(at_idp, stored_tokens(at_idp))  # and its save was lost
    sign_out(at_idp)
    assert revoked_tokens(idp) == [new.refresh_token]
    assert idp.refresh_tokens == set()


def test_refresh_under_way_at_the_sign_out_leaves_no_live_grant(
    idp: LogoutProvider, at_idp: Visitor
) -> None:
    held = stored_tokens(at_idp)
    asked, may_response = stall(idp, "/token")
    found: list[TokenSet] = []
    refreshing = threading.Thread(target=lambda: found.append(refresh_tokens(at_idp, held)))
    refreshing.start()
    assert asked.wait(10)
    sign_out(at_idp)
    assert idp.revocations == []
    may_response.set()
    refreshing.join(10)
    assert revoked_tokens(idp) == [found[0].refresh_token]
    assert idp.refresh_tokens == set()
    assert not idp.reused
