"""Tokens of MCP servers for which the person's provider vouches (ID-JAG)."""

import hashlib
from threading import Event

import pytest
from pytest_django import Settings

from oauth.exceptions import (
    NoLongerAllowed,
    NotConnected,
    ProviderUnavailable,
    ReauthenticationRequired,
    SessionFull,
)
from oauth.mcp import resource_metadata
from oauth.network.http import POST_TIMEOUT
from oauth.provider.token_set import TokenSet
from oauth.tokens import assertion_request, vault
from oauth.tokens.refresh_coordinator import QUEUED_MAX, WORK_MAX
from sessions_kms import Leases, StoreUnavailable
from sessions_kms.backend import SessionStore
from sessions_kms.operations import ending
from sessions_kms.services import services
from tests.oauth.support.asserting import AT_NOTES, JWT_BEARER, AssertionServer, declare_asserted
from tests.oauth.support.connecting import Connecting
from tests.oauth.support.fake_provider import CLIENT_ID, CLIENT_SECRET
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.full_session import fill
from tests.oauth.support.id_jag_provider import EXCHANGE, ID_JAG, IdJagProvider
from tests.oauth.support.logout_fixtures import sign_out, wait_until_settled
from tests.oauth.support.mcp_server import McpResource
from tests.oauth.support.requests import (
    assert_no_token,
    drop_tokens,
    get_token,
    request_of,
    stored_tokens,
)
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock


def assert_new_token_is_revoked(server: AssertionServer) -> None:
    """Expect that the server was asked to revoke one token, of its own."""
    wait_until_settled()
    [revoked] = server.revocations
    assert revoked["token"] in server.secrets


def test_first_call_exchanges_the_id_token_and_the_assertion(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer
) -> None:
    id_token = stored_tokens(signed_in).id_token
    token = get_token(signed_in, "notes")
    assert corp.exchanges == [
        {
            "grant_type": EXCHANGE,
            "requested_token_type": ID_JAG,
            "audience": server.issuer,
            "resource": notes.url,
            "subject_token": id_token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
    ]
    [form] = server.forms
    assert form.pop("assertion") in corp.secrets
    assert form == {"grant_type": JWT_BEARER, "client_id": AT_NOTES, "resource": notes.url}
    assert token.access_token in server.people_of_tokens
    assert stored_tokens(signed_in, "notes") == token
    assert (token.refresh_token, token.id_token) == (None, None)
    assert not corp.refreshes


def test_session_and_lease_have_what_the_format_says(
    signed_in: Visitor, notes: McpResource, server: AssertionServer, store: Stack
) -> None:
    """docs/format.md#the-providers-tokens."""
    get_token(signed_in, "notes")
    stored = signed_in.session["oauth:notes"]
    assert {name for name, value in stored.items() if value is None} == {
        "refresh_token", "refresh_expires_at", "id_token", "dpop_key",
    }  # fmt: skip
    assert {name: stored[name] for name in ("asserted_by", "asserted_subject", "issuer")} == {
        "asserted_by": "corp", "asserted_subject": "1001", "issuer": server.issuer,
    }  # fmt: skip
    assert stored["resource"] == notes.url
    key = signed_in.session.session_key
    secret = hashlib.sha256(f"oauth/id-jag\0notes\0{key}".encode()).hexdigest()[:32]
    assert Leases(services()).id_of(secret) in store.items()
    server.error = "invalid_grant"
    store.clock.advance(3601)
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert signed_in.session["oauth_assertion_failed:notes"] == int(store.clock())


def test_token_is_used_until_it_ends(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    first = get_token(signed_in, "notes")
    store.clock.advance(3500)
    assert get_token(signed_in, "notes") == first
    store.clock.advance(99)
    assert get_token(signed_in, "notes") != first
    assert (len(corp.exchanges), len(server.forms), len(corp.refreshes)) == (2, 2, 1)


def test_token_of_unknown_lifetime_is_used_for_an_hour(
    signed_in: Visitor, server: AssertionServer, store: Stack
) -> None:
    """Otherwise the provider would not be asked again for as long as the session lasts."""
    server.more_of_token_response = {"expires_in": None}
    first = get_token(signed_in, "notes")
    store.clock.advance(3500)
    assert get_token(signed_in, "notes") == first
    store.clock.advance(101)
    assert get_token(signed_in, "notes") != first


def test_without_a_new_id_token_only_connect_is_left(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    corp.renews_id_token = False
    store.clock.advance(61)
    for _ in range(3):
        assert_no_token(signed_in, ReauthenticationRequired, "notes")
        store.clock.advance(99)
    assert (len(corp.refreshes), corp.exchanges) == (1, [])
    store.clock.advance(4)
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert len(corp.refreshes) == 2


@pytest.mark.parametrize("process", ["login", "connect"])
def test_new_sign_in_ends_the_wait(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack, process: str
) -> None:
    """Connecting the account again keeps the session, with the time of the failure."""
    server.error = "invalid_grant"
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    server.error = None
    store.clock.advance(60)
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    signed_in.sign_in(corp, process=process)
    assert get_token(signed_in, "notes").access_token in server.people_of_tokens


def test_token_that_the_server_rejects_is_replaced_unless_it_is_new(
    signed_in: Visitor, server: AssertionServer, store: Stack
) -> None:
    first = get_token(signed_in, "notes")
    assert get_token(signed_in, "notes", rejected=first) == first
    store.clock.advance(31)
    second = get_token(signed_in, "notes", rejected=first)
    assert get_token(signed_in, "notes", rejected=first) == second != first
    assert len(server.forms) == 2


def test_failed_renewal_leaves_the_token_that_lasts(
    signed_in: Visitor, server: AssertionServer, store: Stack
) -> None:
    first = get_token(signed_in, "notes")
    server.error = "access_denied"
    store.clock.advance(3550)
    for _ in range(2):
        assert get_token(signed_in, "notes") == first
    assert len(server.forms) == 2
    store.clock.advance(51)
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert len(server.forms) == 2


def test_person_without_an_account_at_the_provider_has_to_connect(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer
) -> None:
    drop_tokens(signed_in, "corp")
    assert_no_token(signed_in, NotConnected, "notes")
    assert not corp.exchanges


@pytest.mark.parametrize(
    "other",
    [
        {"asserted_subject": "another"},
        {"issuer": "https://other.example"},
        {"resource": "https://other.example/mcp"},
    ],
)
def test_token_of_another_account_or_server_is_not_used(
    signed_in: Visitor,
    corp: IdJagProvider,
    server: AssertionServer,
    store: Stack,
    other: dict[str, str],
) -> None:
    """A person may have two accounts at the provider; an operator may declare another server."""
    first = get_token(signed_in, "notes")
    session = signed_in.session
    held = vault.load_token_set(session, "notes")
    assert held is not None
    session["oauth:notes"] = held.to_session() | other
    session.save()
    assert get_token(signed_in, "notes") != first
    assert stored_tokens(signed_in, "notes").asserted_subject == "1001"


@pytest.mark.parametrize("ended", ["corp", "notes"])
def test_operator_who_ends_the_grants_ends_the_token(
    signed_in: Visitor, server: AssertionServer, store: Stack, ended: str
) -> None:
    first = get_token(signed_in, "notes")
    ending.end_before_of(services(), ended, int(store.clock()))
    store.clock.advance(1)
    if ended == "corp":
        assert_no_token(signed_in, ReauthenticationRequired, "notes")
    else:
        assert get_token(signed_in, "notes") != first


def test_what_a_person_connected_is_used_and_refreshed(
    signed_in: Visitor,
    corp: IdJagProvider,
    notes: McpResource,
    server: AssertionServer,
    store: Stack,
) -> None:
    Connecting(signed_in, notes).connect()
    connected = stored_tokens(signed_in, "notes")
    assert get_token(signed_in, "notes") == connected
    store.clock.advance(3600)
    assert get_token(signed_in, "notes") == stored_tokens(signed_in, "notes") != connected
    assert server.refreshes == [connected.refresh_token]
    assert not corp.exchanges


def test_what_a_person_connects_meanwhile_stays(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer
) -> None:
    Connecting(signed_in, notes).connect()
    connected = stored_tokens(signed_in, "notes")
    key = signed_in.session.session_key

    def store_connection(token_set: TokenSet | None) -> None:
        session = SessionStore(key)
        vault.drop_token_set(session, "notes")
        if token_set is not None:
            vault.store_token_set(session, "notes", token_set)
        session.save()

    store_connection(None)
    server.hooks["/token"] = lambda: store_connection(connected)
    assert get_token(signed_in, "notes") == stored_tokens(signed_in, "notes") == connected
    assert len(corp.exchanges) == 1


def test_connection_without_a_refresh_token_is_replaced_when_it_ends(
    signed_in: Visitor,
    corp: IdJagProvider,
    notes: McpResource,
    server: AssertionServer,
    store: Stack,
) -> None:
    server.gives_refresh_token = False
    Connecting(signed_in, notes).connect()
    assert get_token(signed_in, "notes") == stored_tokens(signed_in, "notes")
    assert not corp.exchanges
    store.clock.advance(3601)
    assert get_token(signed_in, "notes").asserted_by == "corp"


def test_sign_out_revokes_the_token(signed_in: Visitor, server: AssertionServer) -> None:
    token = get_token(signed_in, "notes")
    sign_out(signed_in)
    assert [form["token"] for form in server.revocations] == [token.access_token]


def test_session_that_ends_meanwhile_stays_ended_and_the_token_is_revoked(
    signed_in: Visitor, server: AssertionServer
) -> None:
    request = request_of(signed_in)
    key = request.session.session_key
    server.hooks["/token"] = lambda: SessionStore(key).flush()
    assert_no_token(signed_in, NotConnected, "notes")
    assert not SessionStore(key).exists(str(key))
    assert_new_token_is_revoked(server)


def test_token_that_cannot_be_stored_in_an_outage_is_revoked(
    signed_in: Visitor, server: AssertionServer, store: Stack
) -> None:
    server.hooks["/token"] = lambda: store.dynamodb.on("PutItem session", refuse_write)
    assert_no_token(signed_in, StoreUnavailable, "notes")
    store.dynamodb.heal()
    assert_new_token_is_revoked(server)


def test_nothing_is_requested_so_late_that_nobody_would_store_it(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The caller stops waiting after WORK_MAX seconds, and the token would live on unknown."""
    assert QUEUED_MAX + assertion_request.SECONDS_MAX < WORK_MAX
    passing = FakeClock()
    monkeypatch.setattr(assertion_request, "monotonic", passing)
    corp.hooks["/token"] = lambda: passing.advance(assertion_request.SECONDS_MAX)
    assert_no_token(signed_in, ProviderUnavailable, "notes")
    assert (len(corp.exchanges), server.forms) == (1, [])


def test_slow_server_has_the_time_that_the_provider_left(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    passing, is_over = FakeClock(), Event()
    monkeypatch.setattr(assertion_request, "monotonic", passing)
    corp.hooks["/token"] = lambda: passing.advance(assertion_request.SECONDS_MAX - 0.2)

    def answer_late() -> None:
        is_over.wait(POST_TIMEOUT - 1)

    server.hooks["/token"] = answer_late
    try:
        assert_no_token(signed_in, ProviderUnavailable, "notes")
        assert not is_over.is_set()
    finally:
        is_over.set()


def test_operator_may_end_it_at_once(
    signed_in: Visitor, notes: McpResource, server: AssertionServer, settings: Settings
) -> None:
    get_token(signed_in, "notes")
    declare_asserted(settings, notes, ID_JAG="")
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert len(server.forms) == 1


def test_only_pinned_scopes_are_requested(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    store: Stack,
) -> None:  # fmt: skip
    notes.scopes = ("read",)
    first = get_token(signed_in, "notes")
    notes.scopes = ("read", "admin")
    resource_metadata._cache.clear()
    store.clock.advance(3601)
    second = get_token(signed_in, "notes")
    assert [form["scope"] for form in corp.exchanges] == ["read", "read"]
    assert (first.requested_scope, second.requested_scope) == (("read",), ("read",))


def test_full_session_is_said_and_the_token_is_revoked(
    signed_in: Visitor, server: AssertionServer
) -> None:
    fill(signed_in.session, "hostile", room=300)
    assert_no_token(signed_in, SessionFull, "notes")
    assert_no_token(signed_in, ProviderUnavailable, "notes")  # This process waits.
    assert_new_token_is_revoked(server)
    assert len(server.forms) == 1


def test_person_who_may_no_longer_sign_in_loses_session_and_token(
    visitor: Visitor,
    corp: IdJagProvider,
    server: AssertionServer,
    settings: Settings,
    store: Stack,
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_GROUPS="staff"))
    corp.more_of_id_token = {"groups": ["staff"]}
    visitor.sign_in(corp)
    key = visitor.session.session_key
    token = get_token(visitor, "notes")
    corp.more_of_id_token = {"groups": []}
    store.clock.advance(3601)
    assert_no_token(visitor, NoLongerAllowed, "notes")
    assert not SessionStore(key).exists(str(key))
    wait_until_settled()
    assert [form["token"] for form in server.revocations] == [token.access_token]
    assert len(server.forms) == 1
