"""Consents for an MCP server that has an authorization server of its own."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from oauth.clients import live_grants, wanted_scopes
from oauth.clients.endpoints import authorization, server_consent
from oauth.clients.grants import grants
from oauth.clients.server import AuthorizationServer
from oauth.clients.server_terms import ISSUER_FIELD, SCOPE_FIELD
from oauth.exceptions import SessionFull
from oauth.mcp.resource_metadata import MAX_AGE
from oauth.tokens import vault
from sessions_kms import GrantStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.clients.support.app import ISSUER, SERVER, App, WayBack, register_app
from tests.oauth.clients.support.consent import RESOURCE, Consent, scope_of
from tests.oauth.support.connecting import ONWARD, declare, query_of
from tests.oauth.support.fixtures import Visitor, sign_in_at
from tests.oauth.support.full_session import fill
from tests.oauth.support.mcp_server import (
    McpResource,
    serving_mcp,
    serving_mcp_with_issuer_elsewhere,
)
from tests.sessions_kms.support.stacks import Stack


@pytest.fixture
def server(server: AuthorizationServer, settings: Settings) -> AuthorizationServer:
    """Offer the MCP server as well."""
    upstreams = {**SERVER["upstreams"], "notes": "notes"}
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**{**SERVER, "upstreams": upstreams})
    return settings.AUTHORIZATION_SERVER  # type: ignore[no-any-return]


@pytest.fixture
def notes(ada: Visitor, settings: Settings) -> Iterator[McpResource]:
    with serving_mcp() as served:
        declare(settings, notes=served.url)
        yield served


@pytest.fixture
def consent(app: App, ada: Visitor, notes: McpResource) -> Consent:
    app.register()
    return Consent(ada, app)


def grant_of(tokens: dict[str, Any]) -> GrantStore:
    found = run_sync(grants().open(tokens["access_token"], upstream="notes"))
    assert found is not None
    return found.session


def test_grant_gets_its_own_tokens_and_the_browser_none(
    consent: Consent, ada: Visitor, notes: McpResource
) -> None:
    tokens = consent.allow(notes)
    held = vault.load_token_set(grant_of(tokens), "notes")
    assert held is not None
    assert held.access_token in notes.authorization.people_of_tokens
    assert (held.issuer, held.resource) == (notes.authorization.issuer, notes.url)
    assert held.subject == ada.user_id
    assert ada.load_tokens("notes") is None
    assert ada.load_tokens("corp") is not None
    [listed] = run_sync(live_grants.list_grants(services(), ada.user_id or ""))
    assert (listed.labels.upstream, listed.labels.provider) == ("notes", "notes")
    assert not ada.session.get("oauth_connecting")


def test_consent_pushes_the_request_if_the_issuer_requires_that(
    consent: Consent, notes: McpResource
) -> None:
    notes.authorization.requires_par = True
    assert grant_of(consent.allow(notes))
    assert query_of(consent.go_on()).keys() == {"client_id", "request_uri"}


def test_grant_and_browser_session_never_share_tokens(consent: Consent, notes: McpResource) -> None:
    first, second = (vault.load_token_set(grant_of(consent.allow(notes)), "notes") for _ in "12")
    assert first is not None
    assert second is not None
    assert first.access_token != second.access_token
    assert first.refresh_token != second.refresh_token


def test_consent_needs_no_room_in_the_browsers_session_for_the_tokens_of_the_app(
    consent: Consent, ada: Visitor, notes: McpResource
) -> None:
    fill(ada.session, "hostile", room=3_000)
    notes.authorization.more_of_token_response = {"access_token": "a" * 8_000}
    assert consent.allow(notes)["access_token"]


def test_grant_without_room_for_demanded_scopes_is_reported(
    consent: Consent, notes: McpResource
) -> None:
    grant = grant_of(consent.allow(notes))
    fill(grant, "hostile", room=0)
    with pytest.raises(SessionFull):
        run_sync(wanted_scopes.demand_scopes(grant, "notes", ["s" * 90, "t" * 90]))


def test_consent_in_a_full_session_is_a_page_that_names_the_largest_connection(
    consent: Consent, ada: Visitor, notes: McpResource
) -> None:
    consent.page = consent.read(consent.confirm())
    fill(ada.session, "hostile", room=0)
    ada.client.raise_request_exception = False
    response = consent.confirm()
    assert response.status_code == 409
    assert "The largest connection is <strong>hostile</strong>." in response.content.decode()
    assert notes.authorization.authorizations == []


def test_page_names_upstream_resource_and_issuer_before_anything_is_allowed(
    consent: Consent, notes: McpResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource, issuer = notes.url.split("/")[2], notes.authorization.issuer.split("//")[1]
    assert resource in consent.page
    assert "<strong>notes</strong>" in consent.page
    assert f'<dd><strong class="host">{issuer}</strong>' not in consent.page
    assert "Not known yet" in consent.page

    again = consent.read(consent.confirm())

    assert f'<dd><strong class="host">{issuer}</strong>' in again
    assert "Nothing was allowed yet." in again
    assert notes.authorization.registrations == []
    consent.page = again
    assert_accessible(again)
    assert ONWARD.search(consent.confirm().content.decode())
    # From then on the first page knows it, without asking the server.
    with monkeypatch.context() as patched:
        patched.setattr(server_consent, "discover", pytest.fail)
        fresh = Consent(consent.person, consent.app)
    assert f'<dd><strong class="host">{issuer}</strong>' in fresh.page
    assert ONWARD.search(fresh.confirm().content.decode())


def test_page_of_another_issuer_or_with_fewer_scopes_allows_nothing(
    consent: Consent, notes: McpResource
) -> None:
    consent.page = consent.read(consent.confirm())
    for name in (ISSUER_FIELD, SCOPE_FIELD):
        assert f"{name}-notes" in consent.named
    other = consent.confirm(**{f"{ISSUER_FIELD}-notes": "https://evil.example"})
    assert "Nothing was allowed yet." in other.content.decode()
    assert notes.authorization.authorizations == []


def test_consent_is_asked_each_time(consent: Consent, notes: McpResource) -> None:
    consent.allow(notes)
    assert b'value="allow"' in consent.person.client.get(consent.address).content


def test_app_that_names_no_upstream_offers_the_server_without_an_account(
    app: App, ada: Visitor, notes: McpResource
) -> None:
    app.register()
    consent = Consent(ada, app, resource=None)
    assert f"The MCP server at {notes.url.split('/')[2]}" in consent.page
    consent.page = consent.read(consent.confirm(upstream="notes"))
    assert f"you will sign in at {notes.authorization.issuer.split('//')[1]}" in consent.page
    tokens = consent.allow(notes, upstream="notes")
    assert tokens["scope"] == "notes"
    assert grant_of(tokens)


def test_denial_at_the_server_leads_back_to_the_consent_page(
    consent: Consent, notes: McpResource
) -> None:
    refused = notes.authorization.consent(consent.go_on(), error="access_denied")
    back = consent.person.client.get(refused)
    assert (back.status_code, back["Location"]) == (302, consent.address)
    assert run_sync(live_grants.list_grants(services(), consent.person.user_id or "")) == []


def test_response_to_a_consent_completes_nothing_for_another_person(
    consent: Consent, notes: McpResource, corp: Any
) -> None:
    response = notes.authorization.consent(consent.go_on())
    visitor = sign_in_at(corp)
    visitor.client.get(response)
    assert notes.authorization.forms == []
    consent.person.client.post("/accounts/logout/")
    consent.person.client.get(response)
    assert notes.authorization.forms == []


def test_server_that_does_not_answer_is_an_error_page_and_the_app_is_told_nothing(
    consent: Consent, settings: Settings
) -> None:
    declare(settings, notes="http://127.0.0.1:1/mcp")
    response = consent.confirm()
    assert response.status_code == 503
    assert consent.app.redirect_uri not in response.content.decode()


def test_issuer_elsewhere_needs_the_operator_before_an_app_is_allowed_anything(
    consent: Consent, settings: Settings
) -> None:
    with serving_mcp_with_issuer_elsewhere() as served:
        declare(settings, notes=served.url)
        page = consent.confirm()
        assert page.status_code == 400
        assert f"UPSTREAM_NOTES_ISSUER={served.authorization.issuer}" in page.content.decode()
        assert served.authorization.authorizations == []


@pytest.mark.parametrize(
    ("resource", "asked"), [(RESOURCE, "notes"), (f"{ISSUER}/gateway/tools", None), (None, "")]
)
def test_only_posts_about_the_server_wait_for_it(
    app: App, notes: McpResource, resource: str | None, asked: str | None
) -> None:
    app.register()
    query = app.query(resource=resource)
    assert authorization.connected_server("POST", query) == asked
    assert authorization.connected_server("GET", query) is None
    assert authorization.connected_server("POST", "client_id=x") is None
    no_pkce = app.query(resource=resource, code_challenge=None)
    assert authorization.connected_server("POST", no_pkce) is None


def demand(tokens: dict[str, Any], *scopes: str) -> bool:
    return run_sync(wanted_scopes.demand_scopes(grant_of(tokens), "notes", scopes))


@pytest.mark.parametrize("is_disconnected", [False, True])
def test_next_consent_names_and_requests_what_the_server_demanded(
    consent: Consent, notes: McpResource, is_disconnected: bool
) -> None:
    tokens, person = consent.allow(notes), consent.person
    assert demand(tokens, "notes:read", "notes:delete")
    assert demand(tokens, "notes:share")
    apps = consent.read(person.client.get("/apps/"))
    assert "<code>notes:delete</code>" in apps
    if is_disconnected:
        [listed] = run_sync(live_grants.list_grants(services(), person.user_id or ""))
        person.client.post("/apps/end/", {"app": listed.row.id})
        assert run_sync(live_grants.list_grants(services(), person.user_id or "")) == []
    consent.app.register(logo_uri="https://app.example.com/logo")  # another id

    again = Consent(person, consent.app)

    for each in ("notes:read", "notes:delete", "notes:share"):
        assert f"<code>{each}</code>" in again.page
    unnamed = again.confirm(**{f"{SCOPE_FIELD}-notes": "notes:read"})
    assert "Nothing was allowed yet." in unnamed.content.decode()
    address = again.go_on()
    assert scope_of(address) == {"notes:read", "notes:delete", "notes:share"}
    new = again.app.redeem(
        WayBack.of(person.client.get(notes.authorization.consent(address))).response["code"],
        resource=RESOURCE,
    ).json()
    assert not demand(new, "notes:delete"), "it was requested already"
    assert ("notes:delete" in Consent(person, consent.app).page) is not is_disconnected


def test_page_names_20_of_100_scopes_at_once_and_the_others_on_demand(
    consent: Consent, notes: McpResource, store: Stack
) -> None:
    consent.allow(notes)
    notes.scopes = tuple(f"scope-{number:02}" for number in range(100))
    store.clock.advance(MAX_AGE + 1)
    again = Consent(consent.person, consent.app)
    shown, _, opened = consent.read(again.confirm()).partition('<details class="details">')
    assert re.findall("<code>(scope-.*?)</code>", shown) == list(notes.scopes[:20])
    assert "These are the first 20 of 100." in shown
    assert re.findall("<code>(scope-.*?)</code>", opened) == list(notes.scopes[20:])
    address = again.go_on(**{f"{SCOPE_FIELD}-notes": " ".join(notes.scopes)})
    assert scope_of(address) == {*notes.scopes}


def test_consent_without_an_upstream_reads_all_grants_once(
    consent: Consent, notes: McpResource, settings: Settings, store: Stack
) -> None:
    """From "one person with many things": grants and servers do not multiply."""
    for _ in range(3):
        consent.allow(notes)
    names = ["notes", "files", "mail"]
    declare(settings, notes=notes.url, files=notes.url, mail=notes.url)
    upstreams = {name: name for name in names}
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**{**SERVER, "upstreams": upstreams})
    read = store.dynamodb.calls
    read.clear()
    choice = Consent(consent.person, consent.app, resource=None, scope=None)
    assert all(f'value="{name}"' in choice.page for name in names)
    assert (read.count("Query logout"), read.count("GetItem about")) == (1, 3)
    read.clear()
    choice.confirm(upstream="notes")
    assert (read.count("Query logout"), read.count("GetItem about")) == (1, 3)


def test_another_app_and_another_upstream_are_not_asked_for_it(
    consent: Consent, notes: McpResource
) -> None:
    demand(consent.allow(notes), "notes:delete")
    other = register_app(name="Another tool")
    assert "notes:delete" not in Consent(consent.person, other).page


def test_operators_scopes_are_not_extended(
    consent: Consent, notes: McpResource, settings: Settings
) -> None:
    demand(consent.allow(notes), "notes:delete")
    declare(settings, {"UPSTREAM_NOTES_SCOPES": "notes:read"}, notes=notes.url)
    again = Consent(consent.person, consent.app)
    assert "notes:delete" not in again.page


@pytest.mark.parametrize(
    "scopes",
    [
        ["x" * 101],
        [f"scope-{number:03}" for number in range(21)],
        [f"https://api.example.com/scopes/{number}" for number in range(9)],
        ['"', "\\", "é"],
        [],
    ],
)
def test_scopes_that_do_not_fit_are_not_kept(
    consent: Consent, notes: McpResource, scopes: list[str]
) -> None:
    tokens = consent.allow(notes)
    assert not demand(tokens, *scopes)
    [listed] = run_sync(live_grants.list_grants(services(), consent.person.user_id or ""))
    assert listed.labels.wanted == ()
    assert listed.labels.client == "Tool"


def test_scopes_that_keep_growing_stay_bounded(consent: Consent, notes: McpResource) -> None:
    tokens = consent.allow(notes)
    kept = [demand(tokens, f"scope-{number}") for number in range(40)]
    assert kept == [True] * 20 + [False] * 20
    [listed] = run_sync(live_grants.list_grants(services(), consent.person.user_id or ""))
    assert len(listed.labels.wanted) == 20
