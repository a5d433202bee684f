"""Refreshes concurrent with a sign-out, sign-in or key change: no grant is lost or restored."""

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError

import oauth
from oauth.provider.refresh_lease import LEASE_SECONDS, LeaseClaim, RefreshLease
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.services import Services, services
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import assert_no_token, get_token, request_of, stored_tokens
from tests.sessions_kms.support.stacks import Stack


def test_key_changed_meanwhile_loses_no_grant(corp: FakeProvider, expired: Visitor) -> None:
    moved = request_of(expired)
    corp.hooks["/token"] = moved.session.cycle_key
    assert_no_token(expired, SessionMoved)
    corp.hooks.clear()

    new = oauth.get_token(request_of(expired, moved.session.session_key), "corp")

    assert new.refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1


def test_session_ended_meanwhile_gets_no_token(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    ending = request_of(expired)
    corp.hooks["/token"] = ending.session.flush
    assert_no_token(expired, oauth.NotConnected)
    assert store.sessions() == {}


def test_connection_dropped_meanwhile_stays_dropped(corp: FakeProvider, expired: Visitor) -> None:
    def drop() -> None:
        request = request_of(expired)
        vault.drop_token_set(request.session, "corp")
        request.session.save()

    corp.hooks["/token"] = drop
    assert_no_token(expired, oauth.NotConnected)
    assert vault.load_token_set(SessionStore(expired.session.session_key), "corp") is None


def test_concurrent_sign_in_wins(corp: FakeProvider, expired: Visitor, store: Stack) -> None:
    newer = replace(stored_tokens(expired), access_token="newer", grant_secret="n" * 32)
    newer = replace(newer, expires_at=int(store.clock.now) + 9000)

    def sign_in_again() -> None:
        request = request_of(expired)
        vault.store_token_set(request.session, "corp", newer)
        request.session.save()

    corp.hooks["/token"] = sign_in_again
    assert get_token(expired) == newer == stored_tokens(expired)


def test_old_copy_adopts_the_successor(corp: FakeProvider, expired: Visitor) -> None:
    old = stored_tokens(expired)
    new = get_token(expired)
    session = SessionStore(expired.session.session_key)
    vault.store_token_set(session, "corp", old)
    session.save()

    assert get_token(expired) == new == stored_tokens(expired)
    assert len(corp.refreshes) == 1


def test_session_that_ends_between_the_refresh_and_its_save_gets_no_token(
    expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: SessionStore, must_create: bool = False) -> None:
        raise UpdateError

    monkeypatch.setattr(SessionStore, "save", end)
    assert_no_token(expired, oauth.NotConnected)


def test_session_is_read_again_after_a_late_claim_of_the_lease(
    corp: FakeProvider, expired: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others refreshed, saved, and their result was deleted, all since the session was read."""
    old = stored_tokens(expired)
    newer = replace(old, grant_secret="n" * 32, expires_at=int(store.clock.now) + 9000)
    claim = RefreshLease.claim

    async def late(self: RefreshLease, max_wait: float) -> LeaseClaim:
        session = SessionStore(expired.session.session_key)
        vault.store_token_set(session, "corp", newer)
        session.save()
        return await claim(self, max_wait)

    monkeypatch.setattr(RefreshLease, "claim", late)
    assert get_token(expired) == newer
    assert corp.refreshes == []
    assert run_sync(
        Leases(services()).claim(old.grant_secret, "another", seconds=LEASE_SECONDS)
    ).held  # It was given back.


def test_request_whose_session_belongs_to_another_person_gets_no_token(
    expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anothers(*_: Any) -> None:
        raise UpdateError

    monkeypatch.setattr(SessionStore, "catch_up", anothers)
    with pytest.raises(oauth.NotConnected, match="another person"):
        get_token(expired)


def test_no_token_is_spent_that_could_not_be_sealed(
    corp: FakeProvider, expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(_: Services) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Services, "sealing_key", unavailable)
    assert_no_token(expired, StoreUnavailable)
    assert corp.refreshes == []
