"""Connecting an MCP server, using its tokens, and disconnecting it."""

import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.contrib.auth import get_user_model
from pytest_django import Settings

from oauth.connect import flow
from oauth.exceptions import ProviderBusy, ProviderUnavailable, ReauthenticationRequired
from oauth.tokens import vault
from tests.oauth.support.connecting import Connecting, declare
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.logout_fixtures import wait_until_settled
from tests.oauth.support.requests import assert_no_token, get_token
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.stacks import Stack

TOLD = "belongs to this browser session: signing out of the gateway ends it."


def sql_counts() -> list[int]:
    return [model.objects.count() for model in (get_user_model(), SocialAccount, SocialToken)]


def messages_of(visitor: Visitor) -> str:
    """Return the home page, which shows what has just happened."""
    return visitor.client.get("/").content.decode()


def test_person_connects_a_server_and_its_tokens_are_bound_to_it(notes: Connecting) -> None:
    page = notes.visitor.client.get(notes.path).content.decode()
    assert TOLD in " ".join(page.split())
    assert notes.resource.url.split("/")[2] in page
    counts = sql_counts()

    response = notes.connect()

    assert (response.status_code, response["Location"]) == (302, "/")
    server, asked = notes.resource.authorization, notes.resource.authorization.authorizations[0]
    assert asked["resource"] == notes.resource.url
    assert asked["redirect_uri"] == "http://testserver/accounts/connect/notes/callback/"
    assert "scope" not in asked
    assert server.forms[0]["resource"] == notes.resource.url
    held = notes.held
    assert (held.issuer, held.resource) == (server.issuer, notes.resource.url)
    assert (held.client_id, held.subject) == (asked["client_id"], notes.visitor.user_id)
    assert get_token(notes.visitor, "notes") == held
    assert counts == sql_counts()
    assert "Notes is connected." in messages_of(notes.visitor)


def test_token_is_refreshed_for_the_same_resource_and_issuer(
    notes: Connecting, store: Stack
) -> None:
    notes.connect()
    before = notes.held
    store.clock.advance(4000)
    new = get_token(notes.visitor, "notes")
    assert new.access_token != before.access_token
    assert notes.resource.authorization.forms[-1] == {
        "grant_type": "refresh_token",
        "refresh_token": before.refresh_token,
        "resource": notes.resource.url,
        "client_id": before.client_id,
    }
    assert (new.issuer, new.resource) == (before.issuer, before.resource)


@pytest.mark.parametrize(
    "variables",
    [
        {"UPSTREAM_NOTES_MCP": "http://127.0.0.1:1/mcp"},
        {"UPSTREAM_NOTES_MCP": "{origin}/mcp2"},
        {"UPSTREAM_NOTES_MCP": "{origin}/mcp", "UPSTREAM_NOTES_ISSUER": "http://127.0.0.1:1"},
    ],
)
def test_tokens_go_nowhere_else_when_the_server_moves(
    notes: Connecting, store: Stack, settings: Settings, variables: dict[str, str]
) -> None:
    notes.connect()
    asked = len(notes.resource.authorization.forms)
    origin = notes.resource.issuer
    declare(settings, {name: value.format(origin=origin) for name, value in variables.items()})
    for seconds in (0, 4000):
        store.clock.advance(seconds)
        assert_no_token(notes.visitor, ReauthenticationRequired, "notes")
    assert len(notes.resource.authorization.forms) == asked


def test_client_that_the_server_forgot_is_registered_again_by_connecting(
    notes: Connecting, store: Stack
) -> None:
    notes.connect()
    notes.resource.authorization.clients.clear()
    store.clock.advance(4000)
    assert_no_token(notes.visitor, ReauthenticationRequired, "notes")


@pytest.mark.parametrize("client_id", ["ours", "https://gateway.example/oauth/clients/notes.json"])
def test_client_that_others_can_correct_signs_nobody_out(
    notes: Connecting, store: Stack, settings: Settings, client_id: str
) -> None:
    server = notes.resource.authorization
    server.clients[client_id] = {
        "redirect_uris": ["http://testserver/accounts/connect/notes/callback/"]
    }
    declare(settings, {"UPSTREAM_NOTES_CLIENT_ID": client_id}, notes=notes.resource.url)
    notes.connect()
    assert server.registrations == []
    server.clients.clear()
    if client_id != "ours":
        declare(settings, notes=notes.resource.url)
    store.clock.advance(4000)
    assert_no_token(notes.visitor, ProviderUnavailable, "notes")


def test_process_that_could_not_ask_does_not_blame_the_server(
    notes: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adversary: descriptors run out."""
    location = notes.resource.authorization.consent(notes.begin())

    def fail(*_: object) -> None:
        raise ProviderBusy("This process has no file descriptor left.")

    monkeypatch.setattr(flow, "exchange_code", fail)
    page = notes.back(location)
    assert (page.status_code, b"busy (request " in page.content) == (503, True)
    assert b"does not answer" not in page.content


def test_disconnecting_revokes_both_tokens_and_keeps_the_sign_in(notes: Connecting) -> None:
    notes.connect()
    held = notes.held
    question = notes.visitor.client.get(f"{notes.path}disconnect/")
    assert "Disconnect Notes?" in question.content.decode()
    assert notes.held == held
    response = notes.visitor.client.post(f"{notes.path}disconnect/")
    assert response["Location"] == "/"
    revoked = [form["token"] for form in notes.resource.authorization.revocations]
    assert revoked == [held.refresh_token, held.access_token]
    assert vault.load_token_set(notes.visitor.session, "notes") is None
    assert notes.visitor.load_tokens() is not None


def test_connecting_again_replaces_the_tokens_without_revoking(notes: Connecting) -> None:
    notes.connect()
    before = notes.held
    notes.connect()
    wait_until_settled()
    assert notes.held.access_token != before.access_token
    assert notes.resource.authorization.revocations == []


def test_signing_in_again_keeps_the_connection(notes: Connecting, corp: object) -> None:
    notes.connect()
    before = notes.held
    notes.visitor.sign_in(corp)  # type: ignore[arg-type]
    wait_until_settled()
    assert notes.held == before
    assert notes.resource.authorization.revocations == []


def test_operator_ends_connections_without_ending_sessions(notes: Connecting, store: Stack) -> None:
    notes.connect()
    assert end("--provider", "notes", "--before", str(int(store.clock())), "--json").status == 0
    store.clock.advance(61)
    assert_no_token(notes.visitor, ReauthenticationRequired, "notes")
    assert "Token expired; please re-authenticate" in messages_of(notes.visitor)


def test_home_page_shows_the_connection_with_an_unverified_name(notes: Connecting) -> None:
    assert "Connect Notes" in messages_of(notes.visitor)
    authorization = notes.resource.authorization
    authorization.more_of_token_response = {"email": "ada\u202e<b>@example.com"}
    notes.connect()
    page = messages_of(notes.visitor)
    named = "<bdi>ada&lt;b&gt;@example.com</bdi>"
    assert f'{named} <span class="muted">(according to the server, not verified)</span>' in page
    assert f'href="{notes.path}disconnect/"' in page


def test_page_names_the_host_to_which_its_link_leads(notes: Connecting) -> None:
    elsewhere = "http://localhost:9/authorize"
    notes.resource.authorization.more_of_metadata = {"authorization_endpoint": elsewhere}
    page = notes.post().content.decode()
    assert f'href="{elsewhere}?' in page
    assert '<p class="place">localhost:9</p>' in page
    assert "Continue to localhost:9" in page


def test_page_leads_back_to_this_site_only(notes: Connecting) -> None:
    assert notes.connect(next="/sessions/")["Location"] == "/sessions/"
    assert notes.connect(next="https://evil.example/")["Location"] == "/"
    long = notes.visitor.client.get(notes.path, {"next": "/" + "x" * 2000})
    assert long.status_code == 400


def test_second_click_of_a_double_click_connects_nothing(notes: Connecting) -> None:
    page = notes.visitor.client.post(notes.path)
    assert "nothing was done" in page.content.decode()
    assert notes.resource.authorization.registrations == []


def test_nobody_who_is_not_signed_in_causes_a_request(notes: Connecting) -> None:
    notes.visitor.client.cookies.clear()
    for path in ("", "callback/?code=1&state=2", "disconnect/"):
        for method in (notes.visitor.client.get, notes.visitor.client.post):
            assert method(notes.path + path).status_code in {302, 405}
    assert notes.visitor.client.get("/accounts/connect/absent/").status_code in {302, 404}
    assert notes.resource.authorization.forms == []


def test_unknown_server_is_not_found(notes: Connecting) -> None:
    for path in ("", "callback/", "disconnect/"):
        found = notes.visitor.client.get(f"/accounts/connect/absent/{path}")
        assert found.status_code == 404
