"""A hostile MCP server whose tokens fill the session: what other servers, pages and calls get.

Row of the adversaries: the hostile provider or server.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from pytest_django import Settings

from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.calls.response_headers import with_session_cookie
from oauth.network import concurrency
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from tests.gateway_site.support.notes_calls import call_notes, problem_of
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.support.connecting import Connecting, declare
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor
from tests.oauth.support.full_session import fill
from tests.oauth.support.logout_fixtures import idp, revoked_tokens, second, sign_out
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.mcp_server import McpResource, serving_mcp
from tests.oauth.support.requests import request_of, stored_tokens
from tests.sessions_kms.support.stacks import Stack

__all__ = ["idp", "second"]

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = {"UPSTREAM_HOSTILE_MCP": "https://mcp.example"}
DISCONNECT = "/accounts/connect/hostile/disconnect/"
LONG = "a" * 8_000
LONGEST = "a" * 31_900  # longer than any other


@pytest.fixture
def resource() -> Iterator[McpResource]:
    with serving_mcp() as served:
        served.authorization.people_of_tokens[LONG] = {}
        yield served


@pytest.fixture
def notes(
    corp: FakeProvider, visitor: Visitor, resource: McpResource, settings: Settings
) -> Connecting:
    """Declare an honest server beside the hostile one, which the person has connected."""
    declare(settings, HOSTILE, notes=resource.url)
    visitor.sign_in(corp)
    visitor.client.raise_request_exception = False
    return Connecting(visitor, resource)


def fill_before_a_long_successor(notes: Connecting) -> TokenSet:
    """Connect, fill the session, and let the next refresh give a long token; return the old one."""
    notes.connect()
    fill(notes.visitor.session, "hostile", room=3_000)
    notes.resource.authorization.more_of_token_response = {"access_token": LONG}
    return notes.held


def make_room(visitor: Visitor) -> None:
    """Follow the link of the page, and disconnect the hostile server."""
    assert visitor.client.get(DISCONNECT).status_code == 200
    assert visitor.client.post(DISCONNECT).status_code == 302


def assert_full(response: Any, log: pytest.LogCaptureFixture) -> None:
    assert response.status_code == 409
    content = response.content.decode()
    page = assert_accessible(content)
    assert "session_full" in page.text
    assert "The largest connection is <strong>Hostile</strong>." in content
    assert DISCONNECT in {each.attributes["href"] for each in page.all("a")}
    assert "a" * 50 not in page.text
    assert "A session is full, request" in log.text
    assert "its largest connection is hostile." in log.text
    assert not [each for each in log.records if each.exc_info]


def test_refreshed_token_stays_in_its_lease_until_there_is_room(
    notes: Connecting, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    old = fill_before_a_long_successor(notes)
    server, visitor = notes.resource.authorization, notes.visitor
    store.clock.advance(4000)
    for _ in range(3):
        problem = problem_of(call_notes(visitor))
        assert (problem["status"], problem["code"]) == (409, "session_full")
        assert (problem["connection"], problem["connections_url"]) == ("hostile", "/")
    assert "A refreshed token of notes stays in its lease" in caplog.text
    assert "A session is full: its largest connection is hostile." in caplog.text
    assert notes.held == old
    assert visitor.client.get("/").status_code == 200
    make_room(visitor)
    assert call_notes(visitor).status == 200
    assert notes.held.access_token == LONG
    assert server.refreshes == [old.refresh_token]


def test_token_that_lasts_is_used_while_its_successor_waits(
    notes: Connecting, store: Stack
) -> None:
    old = fill_before_a_long_successor(notes)
    server = notes.resource.authorization
    store.clock.now = (old.expires_at or 0) - 20
    assert [call_notes(notes.visitor).status for _ in range(2)] == [200, 200]
    assert notes.resource.calls == [old.access_token] * 2
    make_room(notes.visitor)
    assert call_notes(notes.visitor).status == 200
    assert notes.resource.calls[2:] == [LONG]
    assert server.refreshes == [old.refresh_token]


def test_successor_that_expired_in_its_lease_is_refreshed_once_there_is_room(
    notes: Connecting, store: Stack
) -> None:
    old = fill_before_a_long_successor(notes)
    server = notes.resource.authorization
    for _ in range(3):
        store.clock.advance(4000)
        assert problem_of(call_notes(notes.visitor))["code"] == "session_full"
    make_room(notes.visitor)
    assert call_notes(notes.visitor).status == 200
    assert (server.refreshes[0], len(server.refreshes)) == (old.refresh_token, 2)
    assert not server.reused


def test_sign_out_revokes_the_successor_that_waits_in_its_lease(
    notes: Connecting, store: Stack
) -> None:
    fill_before_a_long_successor(notes)
    server = notes.resource.authorization
    store.clock.advance(4000)
    assert problem_of(call_notes(notes.visitor))["code"] == "session_full"
    [newest] = server.refresh_tokens
    assert notes.visitor.client.post("/accounts/logout/").status_code == 302
    assert concurrency.drain_background(20)
    assert [each["token"] for each in server.revocations] == [newest, LONG]


def test_new_connection_without_room_is_revoked_and_possible_afterwards(
    notes: Connecting, caplog: pytest.LogCaptureFixture
) -> None:
    fill(notes.visitor.session, "hostile", room=3_000)
    server = notes.resource.authorization
    server.more_of_token_response = {"access_token": LONGEST}
    assert_full(notes.connect(), caplog)
    assert concurrency.drain_background(20)
    assert LONGEST in {each["token"] for each in server.revocations}
    assert "oauth:notes" not in notes.visitor.session
    make_room(notes.visitor)
    server.people_of_tokens[LONGEST] = {}
    assert notes.connect().status_code == 302
    assert call_notes(notes.visitor).status == 200


def test_state_without_room_leads_to_the_page_instead_of_the_server(
    notes: Connecting, caplog: pytest.LogCaptureFixture
) -> None:
    fill(notes.visitor.session, "hostile", room=0)
    assert_full(notes.post(), caplog)
    assert notes.resource.authorization.authorizations == []


def test_demanded_scopes_without_room_are_a_problem(
    notes: Connecting, caplog: pytest.LogCaptureFixture
) -> None:
    notes.connect()
    fill(notes.visitor.session, "hostile", room=1_000)
    notes.resource.demanded = " ".join(f"{'s' * 150}{number}" for number in range(20))
    problem = problem_of(call_notes(notes.visitor))
    assert (problem["code"], problem["connection"]) == ("session_full", "hostile")
    assert "A session is full: its largest connection is hostile." in caplog.text


def test_response_of_a_call_is_passed_on_although_a_change_of_the_session_does_not_fit(
    notes: Connecting,
) -> None:
    request = request_of(notes.visitor)
    request.session["x"] = "a" * 500_000
    assert asyncio.run(with_session_cookie(request, Caller(request.session), [])) == []


@pytest.mark.parametrize("form", [{}, {"process": "connect"}], ids=["sign-in", "connect"])
def test_sign_in_without_room_is_the_page_and_leaves_the_session_as_it_is(
    notes: Connecting, corp: FakeProvider, form: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    visitor = notes.visitor
    fill(visitor.session, "hostile", room=3_000)
    before = vault.stored_providers(visitor.session)
    corp.people_of_tokens[LONG] = dict(corp.person)
    corp.more_of_token_response = {"access_token": LONG}
    assert_full(visitor.sign_in(corp, **form), caplog)
    assert vault.stored_providers(visitor.session) == before
    make_room(visitor)
    assert visitor.sign_in(corp, **form).status_code == 302
    assert set(vault.stored_providers(visitor.session)) == {*before} - {"hostile"}


def test_connection_that_is_renewed_without_room_keeps_the_old_tokens(
    notes: Connecting, caplog: pytest.LogCaptureFixture
) -> None:
    notes.connect()
    fill(notes.visitor.session, "hostile", room=3_000)
    old = notes.held
    notes.resource.authorization.more_of_token_response = {"access_token": LONGEST}
    assert_full(notes.connect(), caplog)
    assert concurrency.drain_background(20)
    assert notes.resource.authorization.revocations == []
    assert notes.held == old
    assert call_notes(notes.visitor).status == 200


# Accounts at providers: no token stays alive that nobody holds.


@pytest.fixture
def full(idp: LogoutProvider) -> Visitor:
    """Sign somebody in whose session is full."""
    visitor = Visitor()
    visitor.client.raise_request_exception = False
    visitor.sign_in(idp)
    fill(visitor.session, "hostile", room=3_000)
    return visitor


def issue_long_tokens(provider: LogoutProvider) -> set[str]:
    """Let the provider issue a long access token next; return its refresh tokens so far."""
    provider.people_of_tokens[LONG] = dict(provider.person)
    provider.more_of_token_response = {"access_token": LONG}
    return set(provider.refresh_tokens)


@pytest.mark.parametrize("signs_in", [False, True], ids=["connect", "sign-in"])
def test_first_account_of_a_further_provider_without_room_is_revoked(
    full: Visitor, second: LogoutProvider, *, signs_in: bool
) -> None:
    if signs_in:  # The account was connected in a browser that has signed out since.
        phone = Visitor()
        phone.sign_in(second, "other")
        sign_out(phone)
        SocialAccount.objects.update(user_id=full.user_id)
        revoked_tokens(second)
        second.revocations.clear()
    before = issue_long_tokens(second)
    assert full.sign_in(second, "other", process="" if signs_in else "connect").status_code == 409
    assert len(revoked_tokens(second)) == 1
    assert second.refresh_tokens == before
    assert full.load_tokens("other") is None


def test_second_account_of_a_provider_without_room_is_revoked_and_not_the_first(
    full: Visitor, idp: LogoutProvider
) -> None:
    held = stored_tokens(full)
    idp.person = BOB
    before = issue_long_tokens(idp)
    assert full.connect(idp, "corp").status_code == 409
    assert len(revoked_tokens(idp)) == 1
    assert stored_tokens(full) == held
    assert idp.refresh_tokens == before
