"""One caller at a time: when a token is refreshed, what is kept, and what is told."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse

import oauth
from gateway_site.gateway import cookies
from oauth import renewal
from oauth import session as tokens
from oauth.access import REFUSED_AGE
from oauth.renewal import BACK_OFF, REFUSAL_KEPT
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.fake_provider import FakeProvider
from tests.oauth.fixtures import Visitor, configure, environment
from tests.oauth.requests import get_token, request_of, stored
from tests.oauth.test_provider_failures import CANARY, NONSENSE, answering
from tests.sessions_kms.stacks import Stack


@pytest.fixture
def signed_in(corp: FakeProvider, visitor: Visitor) -> Visitor:
    visitor.sign_in(corp)
    return visitor


# When


def test_fresh_token_is_returned_without_a_call(corp: FakeProvider, signed_in: Visitor) -> None:
    assert get_token(signed_in) == stored(signed_in)
    assert corp.refreshes == []


@pytest.mark.parametrize(("left", "refreshes"), [(61, 0), (60, 1), (1, 1), (0, 1), (-9999, 1)])
def test_token_is_refreshed_within_the_leeway(
    corp: FakeProvider, signed_in: Visitor, store: Stack, left: int, refreshes: int
) -> None:
    end = stored(signed_in).expires_at or 0
    store.clock.now = end - left
    get_token(signed_in)
    assert len(corp.refreshes) == refreshes


def test_leeway_is_configurable(
    corp: FakeProvider, signed_in: Visitor, store: Stack, settings: Any
) -> None:
    configure(settings, environment("corp", corp, REFRESH_LEEWAY="600"))
    store.clock.now = (stored(signed_in).expires_at or 0) - 599
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


def test_token_without_end_is_returned_as_it_is(
    github: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(github, "github")
    store.clock.advance(24 * 3600)
    assert get_token(visitor, "github") == stored(visitor, "github")


def test_token_without_refresh_token_serves_to_its_end(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    corp.gives_refresh_token = False
    visitor.sign_in(corp)
    store.clock.now = (stored(visitor).expires_at or 0) - 1
    assert get_token(visitor).access_token in corp.secrets
    store.clock.advance(1)
    with pytest.raises(oauth.ReauthenticationRequired):
        get_token(visitor)


def test_expired_refresh_token_is_not_sent(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    corp.more_of_token_response = {"refresh_expires_in": 7200}
    visitor.sign_in(corp)
    store.clock.advance(7200)
    with pytest.raises(oauth.ReauthenticationRequired):
        get_token(visitor)
    assert corp.refreshes == []


def test_refresh_token_of_another_client_is_not_sent(
    corp: FakeProvider, signed_in: Visitor, store: Stack, settings: Any
) -> None:
    configure(settings, environment("corp", corp, CLIENT_ID="another-client"))
    store.clock.advance(4000)
    with pytest.raises(oauth.ReauthenticationRequired):
        get_token(signed_in)
    assert corp.refreshes == []


def test_token_that_lasts_is_handed_out_while_the_lease_cannot_be_had(
    corp: FakeProvider, signed_in: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = stored(signed_in)
    request = request_of(signed_in)
    request.session.load()
    store.clock.now = (held.expires_at or 0) - 30

    def down(*args: Any, **kwargs: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(store.services.table, "put_stamped", down)
    assert oauth.get_token(request, "corp") == held
    store.clock.now = held.expires_at or 0
    with pytest.raises(StoreUnavailable):
        oauth.get_token(request, "corp")
    assert corp.refreshes == []


def test_nothing_held_is_not_connected(corp: FakeProvider, visitor: Visitor) -> None:
    with pytest.raises(oauth.NotConnected):
        get_token(visitor)


def test_unknown_provider_is_not_connected(corp: FakeProvider, signed_in: Visitor) -> None:
    with pytest.raises(oauth.NotConnected):
        get_token(signed_in, "nobody")


# What is kept


def test_refreshed_token_is_saved_at_once_and_returned(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    before = stored(signed_in)
    store.clock.advance(4000)
    request = request_of(signed_in)

    new = oauth.get_token(request, "corp")

    assert new == stored(signed_in) == tokens.load(request.session, "corp")
    assert new.access_token != before.access_token
    assert new.refresh_token in corp.refresh_tokens
    assert new.grant_secret != before.grant_secret
    assert (new.expires_at or 0) == int(store.clock.now) + 3600
    assert corp.refreshes == [before.refresh_token]


def test_refresh_renews_the_cookie_and_the_middleware_stores_nothing_more(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    request = request_of(signed_in)
    oauth.get_token(request, "corp")
    saved = store.sessions()

    response = SessionMiddleware(lambda _: HttpResponse()).process_response(request, HttpResponse())

    cookie = response.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["max-age"] == request.session.get_expiry_age() > 0
    assert store.sessions() == saved


def test_request_that_found_anothers_refresh_renews_the_cookie_too(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    first, second = request_of(signed_in), request_of(signed_in)
    second.session["of the second"] = "a change"
    oauth.get_token(first, "corp")
    assert oauth.get_token(second, "corp") == stored(signed_in)
    assert second.session.modified
    second.session.save()
    assert signed_in.session["of the second"] == "a change"
    assert stored(signed_in) == tokens.load(first.session, "corp")


def test_cookie_of_a_session_that_ended_meanwhile_is_not_renewed(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    request = request_of(signed_in)
    oauth.get_token(request, "corp")
    SessionStore(request.session.session_key).delete()
    assert asyncio.run(cookies.renewed(request, [])) == []
    with pytest.raises(SessionInterrupted):
        SessionMiddleware(lambda _: HttpResponse()).process_response(request, HttpResponse())


def test_views_changes_beside_a_refresh_are_kept(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    request = request_of(signed_in)
    switching, interval = 1e-5, sys.getswitchinterval()

    async def view() -> int:
        await request.session.aget("x")
        refreshing = asyncio.ensure_future(oauth.aget_token(request, "corp"))
        count = 0
        while not refreshing.done():
            request.session[f"key {count % 50}"] = count
            count += 1
            await asyncio.sleep(0)
        await refreshing
        return count

    sys.setswitchinterval(switching)
    try:
        count = asyncio.run(view())
    finally:
        sys.setswitchinterval(interval)
    last = {f"key {number % 50}": number for number in range(count)}
    assert {key: request.session.get(key) for key in last} == last
    assert tokens.load(request.session, "corp") == stored(signed_in)


def test_successors_are_refreshed_in_their_turn(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    for _ in range(4):
        store.clock.advance(4000)
        get_token(signed_in)
    assert len(set(corp.refreshes)) == len(corp.refreshes) == 4
    assert not corp.reused


def test_answer_without_refresh_token_scope_and_id_token_keeps_the_old_ones(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    before = stored(signed_in)
    corp.rotates = False
    corp.scope = None
    corp.more_of_token_response = {"id_token": None}
    store.clock.advance(4000)
    new = get_token(signed_in)
    assert new.refresh_token == before.refresh_token
    assert new.scope == before.scope
    assert new.id_token == before.id_token
    assert new.access_token != before.access_token


def test_scope_that_shrank_is_noticed(
    corp: FakeProvider, signed_in: Visitor, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    corp.scope = "openid profile"
    store.clock.advance(4000)
    assert get_token(signed_in).scope == ("openid", "profile")
    store.clock.advance(4000)
    get_token(signed_in)
    assert caplog.text.count("granted less at a refresh than before: ['email'] is gone") == 1


@pytest.mark.parametrize("claim", ["sub", "iss"])
def test_id_token_of_another_subject_or_issuer_is_refused(
    corp: FakeProvider, signed_in: Visitor, store: Stack, claim: str
) -> None:
    before = stored(signed_in)
    corp.more_of_id_token = {claim: "another"}
    store.clock.advance(4000)
    with pytest.raises(oauth.ReauthenticationRequired):
        get_token(signed_in)
    assert stored(signed_in) == before


def test_other_changes_of_the_request_are_not_saved_with_it(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    request = request_of(signed_in)
    request.session["half"] = "done"
    new = oauth.get_token(request, "corp")

    assert "half" not in SessionStore(request.session.session_key)
    request.session.save()
    assert SessionStore(request.session.session_key)["half"] == "done"
    assert stored(signed_in) == new


def test_long_request_does_not_put_an_old_token_back(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    long = request_of(signed_in)
    oauth.get_token(long, "corp")
    long.session["late"] = True
    store.clock.advance(4000)
    newest = get_token(signed_in)

    long.session.save()

    assert stored(signed_in) == newest
    assert SessionStore(long.session.session_key)["late"] is True


def test_unrelated_save_of_an_older_request_leaves_the_new_token(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    unrelated = request_of(signed_in)
    unrelated.session["x"] = 1
    store.clock.advance(4000)
    new = get_token(signed_in)
    unrelated.session.save()
    assert stored(signed_in) == new


def test_key_changed_by_the_same_request_keeps_the_new_token(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    request = request_of(signed_in)
    new = oauth.get_token(request, "corp")
    request.session.cycle_key()
    assert tokens.load(SessionStore(request.session.session_key), "corp") == new


# Meeting others


def test_key_changed_meanwhile_loses_no_grant(
    corp: FakeProvider,
    signed_in: Visitor,
    store: Stack,
    caplog: pytest.LogCaptureFixture,
) -> None:
    moved = request_of(signed_in)
    store.clock.advance(4000)
    corp.hooks["/token"] = moved.session.cycle_key
    with pytest.raises(oauth.NotConnected):
        get_token(signed_in)
    assert "finds the new one" in caplog.text
    corp.hooks.clear()

    new = oauth.get_token(request_of(signed_in, moved.session.session_key), "corp")

    assert new.refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1


def test_session_ended_meanwhile_gets_no_token(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    ending = request_of(signed_in)
    store.clock.advance(4000)
    corp.hooks["/token"] = ending.session.flush
    with pytest.raises(oauth.NotConnected):
        get_token(signed_in)
    assert store.sessions() == {}


def test_connection_dropped_meanwhile_stays_dropped(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    def drop() -> None:
        request = request_of(signed_in)
        tokens.drop(request.session, "corp")
        request.session.save()

    store.clock.advance(4000)
    corp.hooks["/token"] = drop
    with pytest.raises(oauth.NotConnected):
        get_token(signed_in)
    assert tokens.load(SessionStore(signed_in.session.session_key), "corp") is None


def test_sign_in_meanwhile_wins(corp: FakeProvider, signed_in: Visitor, store: Stack) -> None:
    newer = replace(stored(signed_in), access_token="newer", grant_secret="n" * 32)
    newer = replace(newer, expires_at=int(store.clock.now) + 9000)

    def sign_in_again() -> None:
        request = request_of(signed_in)
        tokens.store(request.session, "corp", newer)
        request.session.save()

    store.clock.advance(4000)
    corp.hooks["/token"] = sign_in_again
    assert get_token(signed_in) == newer == stored(signed_in)


def test_old_copy_adopts_the_successor(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    old = stored(signed_in)
    store.clock.advance(4000)
    new = get_token(signed_in)
    session = SessionStore(signed_in.session.session_key)
    tokens.store(session, "corp", old)
    session.save()

    assert get_token(signed_in) == new == stored(signed_in)
    assert len(corp.refreshes) == 1


# Refused by an upstream


def test_refused_token_is_refreshed_before_its_end(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(REFUSED_AGE)
    refused = get_token(signed_in)
    new = get_token(signed_in, refused=refused)
    assert new.access_token != refused.access_token
    assert get_token(signed_in, refused=refused) == new
    assert len(corp.refreshes) == 1


def test_refused_token_that_was_just_issued_comes_back(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(REFUSED_AGE - 1)
    refused = get_token(signed_in)
    assert get_token(signed_in, refused=refused) == refused
    assert corp.refreshes == []


def test_refused_token_is_not_returned_when_it_cannot_be_refreshed(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(REFUSED_AGE)
    refused = get_token(signed_in)
    corp.failing["/token"] = NONSENSE["server error"]
    with pytest.raises(oauth.ProviderUnavailable):
        get_token(signed_in, refused=refused)


def test_refused_token_without_refresh_token_needs_a_sign_in(
    github: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(github, "github")
    store.clock.advance(REFUSED_AGE)
    with pytest.raises(oauth.ReauthenticationRequired):
        get_token(visitor, "github", refused=stored(visitor, "github"))


# Failures


TRANSIENT = {
    **{name: NONSENSE[name] for name in NONSENSE if name != "not found"},
    "too many requests": answering(429, b'{"error": "invalid_grant"}'),
    "server error with a code": answering(500, b'{"error": "invalid_grant"}'),
    "too long": answering(200, b" " * 300_000),
    "no token": answering(200, b'{"token_type": "bearer"}'),
    "unknown error": answering(400, b'{"error": "slow_down"}'),
    "error that is no text": answering(400, b'{"error": ["invalid_grant"]}'),
    "not this client": answering(401, b'{"error": "invalid_client"}'),
    "malformed id token": answering(200, b'{"access_token": "a", "id_token": "b"}'),
    "deep": answering(200, b"[" * 100_000),
}


@pytest.mark.parametrize("what", TRANSIENT)
def test_transient_failure_keeps_the_old_token(
    corp: FakeProvider, signed_in: Visitor, store: Stack, what: str
) -> None:
    before = stored(signed_in)
    store.clock.advance(4000)
    corp.failing["/token"] = TRANSIENT[what]
    with pytest.raises(oauth.ProviderUnavailable):
        get_token(signed_in)
    assert stored(signed_in) == before

    corp.failing.clear()
    store.clock.advance(BACK_OFF)
    assert get_token(signed_in).access_token != before.access_token


def test_provider_that_is_down_is_a_transient_failure(
    corp: FakeProvider, signed_in: Visitor, store: Stack, settings: Any
) -> None:
    store.clock.advance(4000)
    configure(settings, environment("corp", corp, ISSUER="http://127.0.0.1:9"))
    with pytest.raises(oauth.ProviderUnavailable):
        get_token(signed_in)


def test_failure_is_remembered_for_a_moment(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    asked = []
    corp.hooks["/token"] = lambda: asked.append(1)
    corp.failing["/token"] = NONSENSE["server error"]
    store.clock.advance(4000)
    for _ in range(5):
        with pytest.raises(oauth.ProviderUnavailable):
            get_token(signed_in)
    assert len(asked) == 1


def test_token_that_lasts_some_seconds_is_returned_while_the_provider_fails(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    before = stored(signed_in)
    corp.failing["/token"] = NONSENSE["server error"]
    store.clock.now = (before.expires_at or 0) - 1
    assert get_token(signed_in) == before
    store.clock.advance(1)
    with pytest.raises(oauth.ProviderUnavailable):
        get_token(signed_in)


@pytest.mark.parametrize("error", ["invalid_grant", "interaction_required", "bad_refresh_token"])
@pytest.mark.parametrize("status", [200, 400])
def test_dead_grant_needs_a_sign_in_and_is_not_hammered(
    corp: FakeProvider, signed_in: Visitor, store: Stack, error: str, status: int
) -> None:
    asked = []
    corp.hooks["/token"] = lambda: asked.append(1)
    corp.failing["/token"] = answering(status, f'{{"error": "{error}"}}'.encode())
    store.clock.advance(4000)
    for _ in range(5):
        with pytest.raises(oauth.ReauthenticationRequired):
            get_token(signed_in)
        renewal._resting.clear()  # the lease remembers, for all processes
    assert len(asked) == 1

    store.clock.advance(REFUSAL_KEPT + 1)
    corp.failing.clear()
    assert get_token(signed_in).refresh_token in corp.refresh_tokens


def test_client_that_is_not_accepted_is_told_loudly(
    corp: FakeProvider, signed_in: Visitor, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    store.clock.advance(4000)
    corp.failing["/token"] = TRANSIENT["not this client"]
    with pytest.raises(oauth.ProviderUnavailable):
        get_token(signed_in)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "corp does not accept this gateway as its client (invalid_client)" in record.message


def test_redirect_of_a_refresh_is_not_followed(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    asked = []
    corp.hooks["/elsewhere"] = lambda: asked.append(1)
    corp.failing["/token"] = answering(302, b"", f"{corp.issuer}/elsewhere")
    store.clock.advance(4000)
    with pytest.raises(oauth.ProviderUnavailable):
        get_token(signed_in)
    assert asked == []


def test_words_of_a_failure_get_nowhere(
    corp: FakeProvider, signed_in: Visitor, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    body = f'{{"error": "{CANARY}", "error_description": "{CANARY}"}}'.encode()
    corp.failing["/token"] = answering(400, body)
    store.clock.advance(4000)
    with caplog.at_level(logging.DEBUG), pytest.raises(oauth.ProviderUnavailable) as caught:
        get_token(signed_in)
    assert CANARY not in caplog.text
    assert CANARY not in str(caught.value)


def test_table_that_fails_after_the_answer_loses_nothing(
    corp: FakeProvider,
    signed_in: Visitor,
    store: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: SessionStore, must_create: bool = False) -> None:
        raise StoreUnavailable

    store.clock.advance(4000)
    with monkeypatch.context() as broken:
        broken.setattr(SessionStore, "save", fail)
        with pytest.raises(StoreUnavailable):
            get_token(signed_in)

    new = get_token(signed_in)
    assert new == stored(signed_in)
    assert new.refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1


def test_store_that_fails_before_the_provider_is_asked_spends_nothing(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(4000)
    request = request_of(signed_in)
    request.session.get("x")
    store.services.table.unavailable = True  # type: ignore[attr-defined]  # the fake's
    with pytest.raises(StoreUnavailable):
        oauth.get_token(request, "corp")
    assert corp.refreshes == []


# Consent


def test_consent_is_needed_when_more_is_asked(
    corp: FakeProvider, signed_in: Visitor, settings: Any
) -> None:
    assert not oauth.needs_consent(request_of(signed_in), "corp")
    configure(settings, environment("corp", corp, SCOPES="openid,email,calendar"))
    assert oauth.needs_consent(request_of(signed_in), "corp")
    configure(settings, environment("corp", corp, SCOPES="openid"))
    assert not oauth.needs_consent(request_of(signed_in), "corp")
    assert not oauth.needs_consent(request_of(signed_in), "nobody")


def test_scope_that_was_asked_for_and_not_granted_needs_no_consent(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.scope = "openid"
    visitor.sign_in(corp)
    assert not oauth.needs_consent(request_of(visitor), "corp")
