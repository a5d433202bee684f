"""An MCP server that nobody connects, since `corp` vouches for people: pages, calls and apps."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pytest_django import Settings

from gateway_site.pages import upstreams
from oauth.clients.grants import grants
from oauth.clients.server import AuthorizationServer
from oauth.tokens import vault
from sessions_kms.concurrency.waits import run_sync
from tests.gateway_site.support.home_page import cards, home, links, status
from tests.gateway_site.support.notes_calls import (
    call_as,
    call_notes,
    gateway_with_clients,
    problem_of,
)
from tests.oauth.clients.support.app import ISSUER, App, WayBack
from tests.oauth.clients.support.consent import RESOURCE, Consent
from tests.oauth.support.asserting import AssertionServer, declare_asserted, serving_asserted
from tests.oauth.support.connecting import Connecting
from tests.oauth.support.fixtures import Visitor, serving_corp
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.mcp_server import McpResource
from tests.sessions_kms.support.stacks import Stack

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[IdJagProvider]:
    with serving_corp(IdJagProvider, store, settings) as provider:
        yield provider


@pytest.fixture
def notes(
    corp: IdJagProvider, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[McpResource]:
    """Serve an MCP server that people and apps may call."""
    monkeypatch.setattr(upstreams, "gateway", gateway_with_clients)
    with serving_asserted(corp) as served:
        declare_asserted(settings, served, CLIENTS="1")
        provider = settings.UPSTREAMS["notes"].consent_provider
        settings.AUTHORIZATION_SERVER = AuthorizationServer(
            issuer=ISSUER, upstreams={"notes": provider}, registration=True
        )
        yield served


@pytest.fixture
def server(notes: McpResource) -> AssertionServer:
    assert isinstance(notes.authorization, AssertionServer)
    return notes.authorization


@pytest.fixture
def ada(notes: McpResource, corp: IdJagProvider, visitor: Visitor) -> Visitor:
    visitor.sign_in_directly(corp)
    return visitor


@pytest.fixture
def app(ada: Visitor) -> App:
    app = App()
    app.register()
    return app


def allow(ada: Visitor, app: App, corp: IdJagProvider) -> dict[str, str]:
    """Consent here and at the provider; return the tokens of the app."""
    led = Consent(ada, app).confirm()
    back = ada.client.get(corp.consent(led["Location"]))
    redeemed = app.redeem(WayBack.of(back).response["code"], resource=RESOURCE)
    assert redeemed.status_code == 200, redeemed.content
    return dict(redeemed.json())


def test_home_page_names_the_provider_and_the_call_works(
    ada: Visitor, notes: McpResource, server: AssertionServer
) -> None:
    for calls in (0, 1):
        card = cards(home(ada))["Notes"]
        assert status(card) == "Through Corp"
        assert [each for each in links(card) if "onnect" in each] == []
        assert len(notes.calls) == calls
        assert call_notes(ada).status == 200
    assert len(server.forms) == 1


def test_refusal_leads_to_connect_and_what_is_connected_is_called(
    ada: Visitor, notes: McpResource, server: AssertionServer
) -> None:
    server.error = "access_denied"
    for _ in range(2):
        response = call_notes(ada)
        problem = problem_of(response)
        assert (response.status, problem["code"]) == (401, "not_vouched")
    assert problem["connect_url"] == "/accounts/connect/notes/"
    assert len(server.forms) == 1
    assert "Connect Notes" in links(cards(home(ada))["Notes"])
    Connecting(ada, notes).connect()
    assert call_notes(ada).status == 200
    assert status(cards(home(ada))["Notes"]) == "Connected"


def test_outage_is_a_503(ada: Visitor, corp: IdJagProvider) -> None:
    corp.failing["/token"] = lambda: (500, "text/plain", b"")
    response = call_notes(ada)
    assert (response.status, problem_of(response)["code"]) == (503, "provider_unavailable")
    assert status(cards(home(ada))["Notes"]) == "Through Corp"


def test_person_without_an_account_at_the_provider_sees_connect(
    ada: Visitor, corp: IdJagProvider
) -> None:
    session = ada.session
    vault.drop_token_set(session, "corp")
    session.save()
    assert "Connect Notes" in links(cards(home(ada))["Notes"])
    response = call_notes(ada)
    assert (response.status, problem_of(response)["code"]) == (401, "not_connected")


def test_app_gets_a_grant_with_the_providers_tokens(
    ada: Visitor, app: App, corp: IdJagProvider, notes: McpResource, server: AssertionServer
) -> None:
    tokens = allow(ada, app, corp)
    grant = run_sync(grants().open(tokens["access_token"], upstream="notes"))
    assert grant is not None
    assert vault.stored_providers(grant.session) == ["corp"]
    assert not server.authorizations
    assert call_as(ada, tokens).status == 200
    assert call_as(ada, tokens).status == 200
    assert len(set(notes.calls)) == len(server.forms) == 1
    assert ada.load_tokens("notes") is None


def test_refused_app_is_told_and_keeps_its_grant(
    ada: Visitor, app: App, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    tokens = allow(ada, app, corp)
    server.error = "invalid_client"
    for _ in range(2):
        response = call_as(ada, tokens)
        error = json.loads(response.body)["error"]
        assert (response.status, error["code"]) == (403, -32015)
        assert error["data"] == {"problem": "not_vouched"}
        assert "www-authenticate" not in response.headers
    assert len(server.forms) == 1
    server.error = None
    store.clock.advance(301)
    assert call_as(ada, tokens).status == 200


def test_app_without_a_new_id_token_signs_in_again(
    ada: Visitor, app: App, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    tokens = allow(ada, app, corp)
    corp.renews_id_token = False
    store.clock.advance(61)
    response = call_as(ada, tokens)
    assert (response.status, problem_of(response)["code"]) == (401, "grant_ended")
    assert call_as(ada, allow(ada, app, corp)).status == 200


def test_grant_from_before_stays(
    ada: Visitor, app: App, corp: IdJagProvider, notes: McpResource, settings: Settings,
) -> None:  # fmt: skip
    vouched = settings.AUTHORIZATION_SERVER
    settings.AUTHORIZATION_SERVER = replace(vouched, upstreams={"notes": "notes"})
    declare_asserted(settings, notes, CLIENTS="1", ID_JAG="")
    tokens = Consent(ada, app).allow(notes)
    settings.AUTHORIZATION_SERVER = vouched
    declare_asserted(settings, notes, CLIENTS="1")
    assert call_as(ada, tokens).status == 200
    assert not corp.exchanges


def test_groups_of_an_app_are_those_at_the_provider(
    ada: Visitor, app: App, corp: IdJagProvider, notes: McpResource, settings: Settings
) -> None:
    declare_asserted(settings, notes, CLIENTS="1", ALLOWED_GROUPS="operators")
    tokens = allow(ada, app, corp)
    assert call_as(ada, tokens).status == 403
    grant = run_sync(grants().open(tokens["access_token"], upstream="notes"))
    assert grant is not None
    held = vault.load_token_set(grant.session, "corp")
    assert held is not None
    vault.store_token_set(grant.session, "corp", replace(held, groups=("operators",)))
    grant.session.save()
    assert call_as(ada, tokens).status == 200


def test_app_gets_the_servers_own_demand_for_scopes(
    ada: Visitor, app: App, corp: IdJagProvider, notes: McpResource
) -> None:
    tokens = allow(ada, app, corp)
    notes.demanded = "write"
    response = call_as(ada, tokens)
    assert (response.status, response.is_problem) == (403, False)
    response = call_notes(ada)
    assert (response.status, problem_of(response)["code"]) == (403, "more_scope")
