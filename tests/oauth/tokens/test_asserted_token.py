"""Tokens of MCP servers for which the person's provider vouches (ID-JAG)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from oauth.exceptions import ReauthenticationRequired
from tests.oauth.support import fake_provider
from tests.oauth.support.asserting import (
    AT_NOTES,
    JWT_BEARER,
    AssertionServer,
    declare_asserted,
    serving_asserted,
)
from tests.oauth.support.fake_provider import CLIENT_ID, CLIENT_SECRET
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.id_jag_provider import EXCHANGE, ID_JAG, IdJagProvider
from tests.oauth.support.mcp_server import McpResource
from tests.oauth.support.requests import get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[IdJagProvider]:
    with fake_provider.serving(IdJagProvider) as provider:
        provider.clock = store.clock
        configure(settings, environment("corp", provider))
        yield provider


@pytest.fixture
def notes(corp: IdJagProvider, signed_in: Visitor, settings: Settings) -> Iterator[McpResource]:
    with serving_asserted(corp) as served:
        declare_asserted(settings, served)
        yield served


@pytest.fixture
def server(notes: McpResource) -> AssertionServer:
    assert isinstance(notes.authorization, AssertionServer)
    return notes.authorization


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


def test_token_is_used_until_it_ends(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    first = get_token(signed_in, "notes")
    store.clock.advance(3500)
    assert get_token(signed_in, "notes") == first
    store.clock.advance(99)
    assert get_token(signed_in, "notes") != first
    assert (len(corp.exchanges), len(server.forms), len(corp.refreshes)) == (2, 2, 1)


def test_without_a_new_id_token_only_connect_is_left(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    corp.renews_id_token = False
    store.clock.advance(61)
    for _ in range(3):
        with pytest.raises(ReauthenticationRequired):
            get_token(signed_in, "notes")
        store.clock.advance(99)
    assert (len(corp.refreshes), corp.exchanges) == (1, [])
    store.clock.advance(4)
    with pytest.raises(ReauthenticationRequired):
        get_token(signed_in, "notes")
    assert len(corp.refreshes) == 2
