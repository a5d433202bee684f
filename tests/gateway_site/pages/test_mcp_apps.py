"""An MCP client that calls a connected server, through the whole gateway in this process."""

import json
import re
from collections.abc import Iterator

import pytest
from mcp_types.jsonrpc import JSONRPCError, jsonrpc_message_adapter
from pytest_django import Settings

from gateway_site.pages import upstreams
from oauth.clients.server import AuthorizationServer
from tests.gateway_site.support.notes_calls import call_as, call_notes, gateway_with_clients
from tests.oauth.clients.support.app import ISSUER, App
from tests.oauth.clients.support.consent import RESOURCE, Consent, scope_of
from tests.oauth.support.connecting import declare
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.mcp_server import McpResource, serving_mcp
from tests.sessions_kms.support.stacks import Stack

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def notes(
    corp: FakeProvider, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[McpResource]:
    """Serve an MCP server that apps may call."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        issuer=ISSUER, upstreams={"notes": "notes"}, registration=True
    )
    monkeypatch.setattr(upstreams, "gateway", gateway_with_clients)
    with serving_mcp() as served:
        declare(settings, {"UPSTREAM_NOTES_CLIENTS": "1"}, notes=served.url)
        yield served


@pytest.fixture
def consent(notes: McpResource, corp: FakeProvider, visitor: Visitor) -> Consent:
    visitor.sign_in_directly(corp)
    app = App()
    app.register()
    return Consent(visitor, app)


def test_app_calls_with_its_own_tokens_and_not_with_the_browsers(
    consent: Consent, notes: McpResource
) -> None:
    tokens = consent.allow(notes)
    response = call_as(consent.person, tokens)
    assert (response.status, bytes(response.body)) == (200, b'{"jsonrpc": "2.0"}')
    [token] = notes.calls
    assert token in notes.authorization.people_of_tokens
    assert call_notes(consent.person).status == 401, "the browser has not connected it"
    assert notes.calls == [token]


def test_demanded_scopes_are_an_error_that_the_client_shows_and_never_a_challenge(
    consent: Consent, notes: McpResource
) -> None:
    tokens = consent.allow(notes)
    notes.demanded = "notes:delete notes:share"

    response = call_as(consent.person, tokens)

    assert response.status == 403
    assert "www-authenticate" not in response.headers
    assert response.headers["x-gateway-problem"] == "more_scope"
    assert response.headers["content-type"] == "application/json"
    error = jsonrpc_message_adapter.validate_json(bytes(response.body), by_name=False)
    assert isinstance(error, JSONRPCError)
    assert f"{ISSUER}/apps/" in error.error.message
    assert json.loads(bytes(response.body))["id"] is None
    again = Consent(consent.person, consent.app)
    assert re.findall("<code>(notes:[a-z]+)</code>", again.page) == ["notes:delete", "notes:share"]
    assert scope_of(again.go_on()) == {"notes:delete", "notes:share"}


def test_demand_that_consent_would_not_meet_passes_without_its_challenge(
    consent: Consent, notes: McpResource
) -> None:
    tokens = consent.allow(notes)
    notes.demanded = "x" * 300
    response = call_as(consent.person, tokens)
    assert (response.status, response.is_problem, bytes(response.body)) == (403, False, b"{}")
    assert "www-authenticate" not in response.headers


def test_grant_whose_tokens_the_server_ended_is_over_and_its_app_asks_again(
    consent: Consent, notes: McpResource, store: Stack
) -> None:
    tokens = consent.allow(notes)
    notes.authorization.people_of_tokens.clear()
    notes.authorization.refresh_tokens.clear()
    store.clock.advance(60)  # a younger token is not replaced
    response = call_as(consent.person, tokens)
    assert (response.status, response.headers["x-gateway-problem"]) == (401, "grant_ended")
    assert "resource_metadata=" in response.headers["www-authenticate"]
    assert consent.app.refresh(tokens["refresh_token"], resource=RESOURCE).status_code == 400
    assert consent.person.client.get("/sessions/").status_code == 200
