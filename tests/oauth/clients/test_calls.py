"""An access token opens the session of its grant, at its upstream, with one read per call."""

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from pytest_django import Settings

from oauth.clients import sealed_grant, token_pair
from oauth.clients.sealed_grant import CachedGrant, GrantCache, TokenResponse
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.support.grants import TOKENS, GrantWorld
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.support.clock import FakeClock

GRACE = 120
LATE = 30


@pytest.fixture
def issued(one: GrantWorld) -> TokenResponse:
    return one.begin()


def test_token_opens_the_session_with_the_persons_tokens(
    one: GrantWorld, issued: TokenResponse
) -> None:
    session = one.load_session(issued)
    assert session[USER_ID] == "7"
    held = vault.load_token_set(session, "corp")
    assert held is not None
    assert held.access_token == TOKENS.access_token


def test_token_opens_nothing_at_another_upstream(one: GrantWorld, issued: TokenResponse) -> None:
    assert one.session(issued.access_token, upstream="other") is None
    assert one.lives(issued)
    assert one.session(issued.access_token, upstream="other") is None


@pytest.mark.parametrize("shown", ["", "gwa_", "gwr_" + "a" * 32, "gwc_" + "a" * 32, "a" * 32])
def test_malformed_access_token_costs_no_call(one: GrantWorld, shown: str) -> None:
    one.calls.clear()
    assert one.session(shown) is None
    assert one.calls == []


def test_refresh_token_and_code_are_no_access_tokens(one: GrantWorld) -> None:
    code = one.allow()
    assert one.session(code) is None
    issued = one.redeem(code)
    assert one.session(issued.refresh_token) is None
    assert one.session(token_pair.ACCESS + issued.refresh_token[4:]) is None


def test_access_token_is_valid_for_its_lifetime(one: GrantWorld, issued: TokenResponse) -> None:
    one.clock.advance(3599)
    assert one.lives(issued)
    one.clock.advance(1)
    assert not one.lives(issued), "though it was remembered a moment ago"


def test_access_token_is_valid_no_longer_than_the_grant(
    one: GrantWorld, issued: TokenResponse
) -> None:
    one.clock.advance(7 * 86_400 - 600)
    last = one.refresh(issued.refresh_token)
    assert last.expires_in == 600
    one.clock.advance(599)
    assert one.lives(last)
    one.clock.advance(1)
    assert not one.lives(last)


@pytest.mark.parametrize("idle", [120, 1800])
def test_client_that_keeps_calling_does_not_time_out(
    one: GrantWorld, settings: Settings, idle: int
) -> None:
    """It refreshes when its access token is over, and not before: the grant has to be there yet."""
    settings.SESSION_COOKIE_AGE = idle
    held = one.begin()
    for _ in range(5):
        one.clock.advance(held.expires_in - 1)
        assert one.lives(held)
        one.clock.advance(1)
        assert not one.lives(held)
        held = one.refresh(held.refresh_token)
    one.clock.advance(idle)
    assert not one.lives(held)


def test_former_access_token_is_valid_until_it_expires(
    one: GrantWorld, issued: TokenResponse
) -> None:
    one.clock.advance(1800)
    later = one.refresh(issued.refresh_token)
    one.clock.advance(1799)
    assert one.lives(issued)
    one.clock.advance(1)
    assert (one.lives(issued), one.lives(later)) == (False, True)


def test_every_call_costs_one_read(one: GrantWorld, issued: TokenResponse) -> None:
    assert one.lives(issued)
    one.calls.clear()
    for _ in range(5):
        assert one.lives(issued)
    assert one.calls == ["GetItem session"] * 5
    one.clock.advance(sealed_grant.CACHE_SECONDS)
    one.calls.clear()
    assert one.lives(issued)
    assert one.calls.count("GetItem token") == 1


def test_grant_that_ended_opens_nothing_at_once(one: GrantWorld, issued: TokenResponse) -> None:
    assert one.lives(issued)
    one.ends()
    assert not one.lives(issued)


@pytest.mark.parametrize("call", ["GetItem token", "GetItem session"])
def test_store_away_is_no_response(one: GrantWorld, issued: TokenResponse, call: str) -> None:
    one.world.table.on(call, refuse_write)
    with pytest.raises(StoreUnavailable):
        one.session(issued.access_token)
    one.world.table.heal()
    assert one.lives(issued)


def test_session_of_a_browser_is_not_loaded_as_a_grant(
    one: GrantWorld, issued: TokenResponse
) -> None:
    """Whatever key a token's item holds: only a marked session is a grant's."""
    session = one.load_session(issued)
    del session["_grant"]
    session.save()
    assert not one.lives(issued)


def test_key_of_a_grant_is_not_accepted_as_a_cookie(one: GrantWorld, issued: TokenResponse) -> None:
    cookie = SessionStore(one.key_of(issued))
    assert dict(cookie.items()) == {}
    assert cookie.session_key is None
    assert one.lives(issued)


# The response to the token before


def test_first_call_after_the_grace_deletes_the_stored_response(
    one: GrantWorld, issued: TokenResponse
) -> None:
    one.clock.advance(GRACE + LATE)
    assert one.lives(issued)
    assert "answer" in one.kinds()
    one.clock.advance(1)
    assert one.lives(issued)
    assert "answer" not in one.kinds()
    one.calls.clear()
    one.clock.advance(sealed_grant.CACHE_SECONDS)
    assert one.lives(issued)
    assert "DeleteItem answer" not in one.calls, "once is enough"


def test_failure_to_delete_the_response_fails_no_call(
    one: GrantWorld, issued: TokenResponse
) -> None:
    one.clock.advance(GRACE + LATE + 1)
    one.world.table.on("DeleteItem answer", refuse_write)
    assert one.lives(issued)
    one.world.table.heal()
    one.clock.advance(sealed_grant.CACHE_SECONDS)
    assert one.lives(issued)
    assert "answer" not in one.kinds()


def test_response_that_cannot_be_deleted_is_tried_once_a_minute(
    one: GrantWorld, issued: TokenResponse
) -> None:
    """Otherwise each call would write, and wait for that."""
    one.clock.advance(GRACE + LATE + 1)
    one.world.table.on("DeleteItem answer", refuse_write)
    one.calls.clear()
    for _ in range(3):
        assert one.lives(issued)
    assert one.calls.count("DeleteItem answer") == 1
    one.clock.advance(sealed_grant.CACHE_SECONDS)
    assert one.lives(issued)
    assert one.calls.count("DeleteItem answer") == 2


# What is remembered


def known_grant(key: str = "k", ends_at: int = 2_000_000_000) -> CachedGrant:
    return CachedGrant(key, "client", "mcp", ends_at, None)


def test_grant_is_cached_for_a_minute_even_if_the_clock_is_set_back() -> None:
    clock = FakeClock()
    grants = GrantCache(clock)
    grants.keep("one", known_grant())
    clock.advance(59)
    assert grants.find("one") is not None
    clock.advance(-600)
    assert grants.find("one") is None
    grants.keep("one", known_grant())
    clock.advance(60)
    assert grants.find("one") is None


def test_expired_grant_is_not_cached() -> None:
    clock = FakeClock()
    grants = GrantCache(clock)
    grants.keep("one", known_grant())
    clock.advance(60)
    grants.keep("two", known_grant())
    assert list(grants._entries) == ["two"]


def test_deletion_is_tried_again_if_the_clock_is_set_back() -> None:
    clock = FakeClock()
    grants = GrantCache(clock)
    assert grants.may_delete("one")
    assert not grants.may_delete("one")
    clock.advance(-600)
    assert grants.may_delete("one")
    grants.note_deleted("one")
    clock.advance(24 * 3600)
    assert not grants.may_delete("one")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_grant, "CACHE_MAX", 3)
    monkeypatch.setattr(sealed_grant, "TRIED_MAX", 3)
    grants = GrantCache(FakeClock())
    for each in "abcde":
        grants.keep(each, known_grant())
        grants.note_deleted(each)
    assert list(grants._entries) == list(grants._tried) == ["c", "d", "e"]


def test_nothing_remembered_shows_a_key(issued: TokenResponse) -> None:
    shown = repr([known_grant("the-secret-key"), issued, issued.__repr__()])
    assert "the-secret-key" not in shown
    assert issued.access_token not in shown
