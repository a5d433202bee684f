"""Providers and MCP servers whose tokens, scopes and groups are long: honest and hostile ones.

Rows of the adversaries: the honest provider with long lists; the hostile provider or server.
"""

import secrets
from dataclasses import replace
from typing import Any

import jwt
import pytest
from pytest_django import Settings

from oauth import NotConnected, ReauthenticationRequired, SessionFull
from oauth.provider.granted_scope import SCOPE_MAX
from oauth.provider.token_set import CONNECTION_SIZE_MAX, MAX_TOKEN_LENGTH
from oauth.tokens import vault
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.support.connecting import Connecting
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor, configure, environment
from tests.oauth.support.full_session import fill
from tests.oauth.support.logout_fixtures import revoked_tokens, wait_until_settled
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import assert_no_token, drop_tokens, get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack

PLACE = "OU=Groups,OU=Europe,DC=corp,DC=example,DC=com"
GROUPS = [f"CN=Department {number:03},{PLACE}" for number in range(200)]
ONE_CHARACTER = " ".join(map(chr, range(0x4E00, 0x4E00 + 16_383)))
SHORT = " ".join(f"{number:x}" for number in range(0x1000, 0x1000 + 16_383))
LONG = "a" * MAX_TOKEN_LENGTH


def home_of(visitor: Visitor) -> str:
    page = visitor.client.get("/")
    assert page.status_code == 200
    content: str = page.content.decode()
    assert len(content) < 20_000
    assert_accessible(content)
    return content


def access_token_with(provider: FakeProvider, claims: dict[str, Any]) -> str:
    """Return an access token that is a JWT, as Keycloak and Entra ID issue them."""
    token = jwt.encode(claims, secrets.token_bytes(32), "HS256")
    provider.people_of_tokens[token] = dict(provider.person)
    return token


def test_person_with_200_groups_in_two_tokens_signs_in_and_keeps_them_at_a_refresh(
    corp: FakeProvider, visitor: Visitor, store: Stack, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_GROUPS="staff"))
    groups = [*GROUPS, "staff"]
    corp.more_of_id_token = {"groups": groups}
    corp.more_of_token_response = {"access_token": access_token_with(corp, {"groups": groups})}
    corp.scope = " ".join(["openid profile email", *(f"orders.{each}" for each in range(300))])
    assert visitor.sign_in(corp).status_code == 302
    held = stored_tokens(visitor)
    assert len(held.access_token) + len(held.id_token or "") > 32 * 1024
    assert (held.groups, len(held.scope)) == (("staff",), 303)
    assert "These are the first 20 of 303." in home_of(visitor)
    store.clock.advance(4000)
    assert get_token(visitor).scope == held.scope
    assert len(corp.refreshes) == 1


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"access_token": LONG, "refresh_token": LONG}, "tokens_too_large"),
        ({"refresh_token": LONG + "a"}, "tokens_too_large"),
        ({"refresh_token": "caf\xe9"}, "answer_unreadable"),
        ({"refresh_token": "a b"}, "answer_unreadable"),
    ],
)
def test_tokens_that_cannot_be_stored_are_rejected_on_a_page(
    corp: FakeProvider, visitor: Visitor, response: dict[str, str], code: str
) -> None:
    corp.more_of_token_response = response
    corp.people_of_tokens[LONG] = dict(corp.person)
    page = visitor.sign_in(corp)
    assert page.status_code in {401, 503}
    assert code in page.content.decode()
    assert LONG not in page.content.decode()
    assert "_auth_user_id" not in visitor.session


def test_tokens_that_are_too_large_together_are_revoked_unless_others_could_end_with_them(
    idp: LogoutProvider, visitor: Visitor
) -> None:
    """Nobody would hold them. Those of another account cannot end with them."""
    too_large = {"scope": SHORT, "access_token": "a" * 31_000, "refresh_token": "r" * 31_000}
    ada = idp.person
    for person, is_signed_in in ((ada, False), (ada, True), (BOB, False)):
        idp.person = idp.people_of_tokens["a" * 31_000] = person
        idp.more_of_token_response = too_large
        assert b"tokens_too_large" in visitor.sign_in(idp).content
        assert revoked_tokens(idp) == ([] if is_signed_in else [too_large["refresh_token"]])
        idp.revocations.clear()
        idp.more_of_token_response = {}
        idp.person = ada
        visitor.sign_in(idp)
    assert get_token(visitor) == stored_tokens(visitor)


@pytest.mark.parametrize("scope", [ONE_CHARACTER, SHORT], ids=["unusual", "short"])
def test_16383_scopes_are_cut_and_pages_show_the_first(
    corp: FakeProvider, visitor: Visitor, scope: str
) -> None:
    corp.scope = f"{scope} openid profile email"
    assert visitor.sign_in(corp).status_code == 302
    held = stored_tokens(visitor).scope
    assert held[:3] == ("openid", "profile", "email")
    assert len(" ".join(held)) <= SCOPE_MAX
    page = home_of(visitor)
    assert page.count("<li><code>") == min(len(held), 20)


@pytest.fixture
def honest(files: Connecting) -> Connecting:
    """Connect a second server, which is honest; `notes` is not."""
    assert files.connect().status_code == 302
    return files


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"access_token": LONG}, "tokens_too_large"),
        ({"refresh_token": LONG}, "tokens_too_large"),
        ({"token_type": "bearer", "access_token": "\u2028" * 100}, "answer_unreadable"),
    ],
)
def test_server_with_unusual_tokens_is_not_connected(
    notes: Connecting, honest: Connecting, response: dict[str, str], code: str
) -> None:
    notes.resource.authorization.more_of_token_response = response
    page = notes.connect()
    assert (page.status_code, code in page.content.decode()) in {(400, True), (503, True)}
    home_of(notes.visitor)
    assert_no_token(notes.visitor, NotConnected, "notes")
    assert get_token(honest.visitor, "files") == honest.held


def test_tokens_of_a_connection_that_are_too_large_together_are_revoked_likewise(
    notes: Connecting,
) -> None:
    server = notes.resource.authorization
    too_large = {"access_token": "a" * 20_000, "refresh_token": "r" * 20_000}
    for is_connected in (False, True):
        server.more_of_token_response = too_large
        assert b"tokens_too_large" in notes.connect().content
        wait_until_settled()
        found = {each["token"] for each in server.revocations}
        assert found == (set() if is_connected else {*too_large.values()})
        server.revocations.clear()
        server.more_of_token_response = {}
        notes.connect()
    assert get_token(notes.visitor, "notes") == notes.held


def test_server_whose_tokens_grow_at_each_refresh_is_stopped_and_loses_nobody_elses(
    notes: Connecting, honest: Connecting, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    notes.connect()
    hostile = notes.resource.authorization
    sizes = []
    for number in range(1, 20):
        store.clock.advance(4000)
        hostile.more_of_token_response = {"access_token": "a" * 4096 * number, "scope": SHORT}
        try:
            sizes.append(len(get_token(notes.visitor, "notes").access_token))
        except ReauthenticationRequired:
            break
        assert get_token(honest.visitor, "files").access_token
    assert 0 < max(sizes) < CONNECTION_SIZE_MAX
    assert "notes refreshed a grant, but its tokens are too large." in caplog.text
    assert len(sizes) < 8
    assert len(notes.held.access_token) == max(sizes)
    assert "These are the first 20 of" in home_of(notes.visitor)
    page = notes.connect()
    assert (page.status_code, b"tokens_too_large" in page.content) == (400, True)
    store.clock.advance(4000)
    assert get_token(honest.visitor, "files") == honest.held


def test_server_that_fills_the_session_stops_only_its_own_refreshes(
    notes: Connecting, honest: Connecting, store: Stack
) -> None:
    notes.connect()
    fill(notes.visitor.session, "another", room=8_000)
    hostile, refused = notes.resource.authorization, 0
    for number in range(1, 6):
        store.clock.advance(4000)
        hostile.more_of_token_response = {"access_token": "a" * 4096 * number}
        try:
            get_token(notes.visitor, "notes")
        except SessionFull:
            refused += 1
        before = honest.held
        assert get_token(honest.visitor, "files").access_token != before.access_token
    assert refused == 4
    home_of(notes.visitor)
    drop_tokens(notes.visitor, "another")
    store.clock.advance(4000)
    assert len(get_token(notes.visitor, "notes").access_token) == 4096 * 5
    files = honest.resource.authorization
    assert (hostile.reused, files.reused, len(files.refreshes)) == (False, False, 5)


def test_page_of_a_scope_that_was_stored_before_the_limits_is_short(signed_in: Visitor) -> None:
    session = signed_in.session
    old = replace(stored_tokens(signed_in), scope=tuple(ONE_CHARACTER.split()))
    vault.store_token_set(session, "corp", old)
    session.save()
    assert "These are the first 20 of 16383." in home_of(signed_in)
    assert get_token(signed_in) == old
