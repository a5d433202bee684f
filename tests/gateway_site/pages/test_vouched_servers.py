"""An MCP server that nobody connects, since `corp` vouches for people: pages, calls and apps."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

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


@dataclass
class Vouched:
    """A person at the provider that vouches, the server `notes`, and an app."""

    corp: IdJagProvider
    notes: McpResource
    ada: Visitor
    app: App

    @property
    def server(self) -> AssertionServer:
        assert isinstance(self.notes.authorization, AssertionServer)
        return self.notes.authorization

    def allow(self) -> dict[str, str]:
        """Consent here and at the provider; return the tokens of the app."""
        led = Consent(self.ada, self.app).confirm()
        back = self.ada.client.get(self.corp.consent(led["Location"]))
        redeemed = self.app.redeem(WayBack.of(back).response["code"], resource=RESOURCE)
        assert redeemed.status_code == 200, redeemed.content
        return dict(redeemed.json())


@pytest.fixture
def vouched(corp: IdJagProvider, notes: McpResource, visitor: Visitor) -> Vouched:
    visitor.sign_in_directly(corp)
    app = App()
    app.register()
    return Vouched(corp, notes, visitor, app)


def test_home_page_names_the_provider_and_the_call_works(vouched: Vouched) -> None:
    for calls in (0, 1):
        card = cards(home(vouched.ada))["Notes"]
        assert status(card) == "Through Corp"
        assert [each for each in links(card) if "onnect" in each] == []
        assert len(vouched.notes.calls) == calls
        assert call_notes(vouched.ada).status == 200
    assert len(vouched.server.forms) == 1


def test_refusal_leads_to_connect_and_what_is_connected_is_called(vouched: Vouched) -> None:
    vouched.server.error = "access_denied"
    for _ in range(2):
        response = call_notes(vouched.ada)
        problem = problem_of(response)
        assert (response.status, problem["code"]) == (401, "not_vouched")
    assert problem["connect_url"] == "/accounts/connect/notes/"
    assert len(vouched.server.forms) == 1
    assert "Connect Notes" in links(cards(home(vouched.ada))["Notes"])
    Connecting(vouched.ada, vouched.notes).connect()
    assert call_notes(vouched.ada).status == 200
    assert status(cards(home(vouched.ada))["Notes"]) == "Connected"


def test_outage_is_a_503(vouched: Vouched) -> None:
    vouched.corp.failing["/token"] = lambda: (500, "text/plain", b"")
    response = call_notes(vouched.ada)
    assert (response.status, problem_of(response)["code"]) == (503, "provider_unavailable")
    assert status(cards(home(vouched.ada))["Notes"]) == "Through Corp"


def test_person_without_an_account_at_the_provider_sees_connect(vouched: Vouched) -> None:
    session = vouched.ada.session
    vault.drop_token_set(session, "corp")
    session.save()
    assert "Connect Notes" in links(cards(home(vouched.ada))["Notes"])
    response = call_notes(vouched.ada)
    assert (response.status, problem_of(response)["code"]) == (401, "not_connected")


def test_app_gets_a_grant_with_the_providers_tokens(vouched: Vouched) -> None:
    tokens = vouched.allow()
    grant = run_sync(grants().open(tokens["access_token"], upstream="notes"))
    assert grant is not None
    assert vault.stored_providers(grant.session) == ["corp"]
    assert not vouched.server.authorizations
    assert call_as(vouched.ada, tokens).status == 200
    assert call_as(vouched.ada, tokens).status == 200
    assert len(set(vouched.notes.calls)) == len(vouched.server.forms) == 1
    assert vouched.ada.load_tokens("notes") is None


def test_refused_app_is_told_and_keeps_its_grant(vouched: Vouched, store: Stack) -> None:
    tokens = vouched.allow()
    vouched.server.error = "invalid_client"
    for _ in range(2):
        response = call_as(vouched.ada, tokens)
        error = json.loads(response.body)["error"]
        assert (response.status, error["code"]) == (403, -32015)
        assert error["data"] == {"problem": "not_vouched"}
        assert "www-authenticate" not in response.headers
    assert len(vouched.server.forms) == 1
    vouched.server.error = None
    store.clock.advance(301)
    assert call_as(vouched.ada, tokens).status == 200


def test_app_without_a_new_id_token_signs_in_again(vouched: Vouched, store: Stack) -> None:
    tokens = vouched.allow()
    vouched.corp.renews_id_token = False
    store.clock.advance(61)
    response = call_as(vouched.ada, tokens)
    assert (response.status, problem_of(response)["code"]) == (401, "grant_ended")
    assert call_as(vouched.ada, vouched.allow()).status == 200


def test_grant_from_before_stays(vouched: Vouched, settings: Settings) -> None:
    usual = settings.AUTHORIZATION_SERVER
    settings.AUTHORIZATION_SERVER = replace(usual, upstreams={"notes": "notes"})
    declare_asserted(settings, vouched.notes, CLIENTS="1", ID_JAG="")
    tokens = Consent(vouched.ada, vouched.app).allow(vouched.notes)
    settings.AUTHORIZATION_SERVER = usual
    declare_asserted(settings, vouched.notes, CLIENTS="1")
    assert call_as(vouched.ada, tokens).status == 200
    assert not vouched.corp.exchanges


def test_groups_of_an_app_are_those_at_the_provider(vouched: Vouched, settings: Settings) -> None:
    declare_asserted(settings, vouched.notes, CLIENTS="1", ALLOWED_GROUPS="operators")
    tokens = vouched.allow()
    assert call_as(vouched.ada, tokens).status == 403
    grant = run_sync(grants().open(tokens["access_token"], upstream="notes"))
    assert grant is not None
    held = vault.load_token_set(grant.session, "corp")
    assert held is not None
    vault.store_token_set(grant.session, "corp", replace(held, groups=("operators",)))
    grant.session.save()
    assert call_as(vouched.ada, tokens).status == 200


def test_app_gets_the_servers_own_demand_for_scopes(vouched: Vouched) -> None:
    tokens = vouched.allow()
    vouched.notes.demanded = "write"
    response = call_as(vouched.ada, tokens)
    assert (response.status, response.is_problem) == (403, False)
    response = call_notes(vouched.ada)
    assert (response.status, problem_of(response)["code"]) == (403, "more_scope")
