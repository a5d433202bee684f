"""What a refresh keeps: in the session, in the request's own changes, and of the old tokens."""

import asyncio
import sys

import pytest
from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse

import oauth
from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.calls.response_headers import renew_session_cookie, with_session_cookie
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import assert_no_token, get_token, request_of, stored_tokens
from tests.sessions_kms.support.stacks import Stack


def test_refreshed_token_is_saved_at_once_and_returned(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    before = stored_tokens(expired)
    request = request_of(expired)

    new = oauth.get_token(request, "corp")

    assert new == stored_tokens(expired) == vault.load_token_set(request.session, "corp")
    assert new.access_token != before.access_token
    assert new.refresh_token in corp.refresh_tokens
    assert new.grant_secret != before.grant_secret
    assert (new.expires_at or 0) == int(store.clock.now) + 3600
    assert corp.refreshes == [before.refresh_token]


def test_refresh_renews_the_cookie_and_the_middleware_stores_nothing_more(
    expired: Visitor, store: Stack
) -> None:
    request = request_of(expired)
    oauth.get_token(request, "corp")
    saved = store.sessions()

    response = SessionMiddleware(lambda _: HttpResponse()).process_response(request, HttpResponse())

    cookie = response.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["max-age"] == request.session.get_expiry_age() > 0
    assert store.sessions() == saved


def test_request_that_adopts_a_refresh_renews_the_cookie_too(expired: Visitor) -> None:
    first, second = request_of(expired), request_of(expired)
    second.session["of the second"] = "a change"
    oauth.get_token(first, "corp")
    assert oauth.get_token(second, "corp") == stored_tokens(expired)
    assert second.session.modified
    second.session.save()
    assert expired.session["of the second"] == "a change"
    assert stored_tokens(expired) == vault.load_token_set(first.session, "corp")


def test_cookie_of_a_session_that_ended_meanwhile_is_not_renewed(expired: Visitor) -> None:
    request = request_of(expired)
    oauth.get_token(request, "corp")
    SessionStore(request.session.session_key).delete()
    caller, response = Caller(request.session), HttpResponse()
    response.set_cookie(settings.SESSION_COOKIE_NAME, "of the admission")
    headers = [(b"set-cookie", each.OutputString().encode()) for each in response.cookies.values()]
    assert asyncio.run(with_session_cookie(request, caller, headers)) == []
    asyncio.run(renew_session_cookie(request, caller, response))
    assert settings.SESSION_COOKIE_NAME not in response.cookies
    with pytest.raises(SessionInterrupted):
        SessionMiddleware(lambda _: HttpResponse()).process_response(request, HttpResponse())


def test_changes_of_the_view_during_a_refresh_are_kept(expired: Visitor) -> None:
    request = request_of(expired)
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
    assert vault.load_token_set(request.session, "corp") == stored_tokens(expired)


def test_successors_can_be_refreshed_too(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    for _ in range(4):
        store.clock.advance(4000)
        get_token(signed_in)
    assert len(set(corp.refreshes)) == len(corp.refreshes) == 4
    assert not corp.reused


def test_response_without_refresh_token_scope_and_id_token_keeps_the_old_ones(
    corp: FakeProvider, expired: Visitor
) -> None:
    before = stored_tokens(expired)
    corp.rotates = False
    corp.scope = None
    corp.more_of_token_response = {"id_token": None}
    new = get_token(expired)
    assert new.refresh_token == before.refresh_token
    assert new.scope == before.scope
    assert new.id_token == before.id_token
    assert new.access_token != before.access_token


def test_reduced_scope_is_logged(
    corp: FakeProvider, signed_in: Visitor, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    corp.scope = "openid profile"
    store.clock.advance(4000)
    assert get_token(signed_in).scope == ("openid", "profile")
    store.clock.advance(4000)
    get_token(signed_in)
    assert caplog.text.count("granted less at a refresh than before: ['email'] is gone") == 1


@pytest.mark.parametrize("claim", ["sub", "iss", "aud"])
def test_id_token_of_another_subject_issuer_or_client_is_rejected(
    corp: FakeProvider, expired: Visitor, claim: str
) -> None:
    before = stored_tokens(expired)
    corp.more_of_id_token = {claim: "another"}
    assert_no_token(expired, oauth.ReauthenticationRequired)
    assert stored_tokens(expired) == before


def test_id_token_for_several_clients_is_accepted(corp: FakeProvider, expired: Visitor) -> None:
    corp.more_of_id_token = {"aud": ["another", corp.client_id], "azp": corp.client_id}
    assert get_token(expired).id_token == corp.secrets[-1]


def test_other_changes_of_the_request_are_not_saved_with_it(expired: Visitor) -> None:
    request = request_of(expired)
    request.session["half"] = "done"
    new = oauth.get_token(request, "corp")

    assert "half" not in SessionStore(request.session.session_key)
    request.session.save()
    assert SessionStore(request.session.session_key)["half"] == "done"
    assert stored_tokens(expired) == new


def test_long_request_does_not_put_an_old_token_back(signed_in: Visitor, store: Stack) -> None:
    store.clock.advance(4000)
    long = request_of(signed_in)
    oauth.get_token(long, "corp")
    long.session["late"] = True
    store.clock.advance(4000)
    newest = get_token(signed_in)

    long.session.save()

    assert stored_tokens(signed_in) == newest
    assert SessionStore(long.session.session_key)["late"] is True


def test_unrelated_save_of_an_older_request_leaves_the_new_token(expired: Visitor) -> None:
    unrelated = request_of(expired)
    unrelated.session["x"] = 1
    new = get_token(expired)
    unrelated.session.save()
    assert stored_tokens(expired) == new


def test_key_changed_by_the_same_request_keeps_the_new_token(expired: Visitor) -> None:
    request = request_of(expired)
    new = oauth.get_token(request, "corp")
    request.session.cycle_key()
    assert vault.load_token_set(SessionStore(request.session.session_key), "corp") == new
