"""Twenty facts about a server whose issuer accepts assertions, with a fixture `site` for it."""

import secrets
from typing import Any

import pytest
from pytest_django import Settings

from oauth.exceptions import ReauthenticationRequired
from oauth.mcp.discovery import announced_assertions
from tests.oauth.support.accepting import AcceptingServer
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.id_jag_provider import ABSENT, new_key
from tests.oauth.support.requests import assert_no_token, drop_tokens, get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case


def some_person() -> dict[str, str]:
    """Return another one for each test: our own issuer gives a person ten tokens in a minute."""
    return {"sub": secrets.token_hex(8), "email": "ada@example.com", "name": "Ada Lovelace"}


@pytest.fixture
def ada(site: AcceptingServer, store: Stack, settings: Settings) -> Visitor:
    configure(settings, environment("corp", site.provider))
    site.declare(settings)
    site.provider.person = some_person()
    visitor = Visitor()
    visitor.sign_in_directly(site.provider)
    site.provider.exchanges.clear()
    return visitor


def test_both_sides_announce_it(ada: Visitor, site: AcceptingServer) -> None:
    assert announced_assertions(site.discover()) == (True, {"corp": True})


def test_metadata_names_issuer_and_resource(ada: Visitor, site: AcceptingServer) -> None:
    found = site.discover()
    assert (found.issuer, found.resource) == (site.issuer, site.url)


def test_person_consents_nowhere(ada: Visitor, site: AcceptingServer) -> None:
    seen = len(site.provider.authorizations)
    assert site.call(get_token(ada, "notes").access_token) == 200
    assert len(site.provider.authorizations) == seen


def test_server_rejects_a_made_up_token(ada: Visitor, site: AcceptingServer) -> None:
    assert site.call("made-up") == 401


def test_server_rejects_the_assertion_as_a_token(ada: Visitor, site: AcceptingServer) -> None:
    assert site.call(site.assertion()) == 401


def test_provider_is_asked_for_this_issuer_and_resource(
    ada: Visitor, site: AcceptingServer
) -> None:
    get_token(ada, "notes")
    [form] = site.provider.exchanges
    assert (form["audience"], form["resource"]) == (site.issuer, site.url)


def test_token_lasts_minutes_and_has_no_refresh_token(ada: Visitor, site: AcceptingServer) -> None:
    token = get_token(ada, "notes")
    assert token.expires_at is not None
    assert token.issued_at is not None
    assert 60 <= token.expires_at - token.issued_at <= 900
    assert "refresh_token" not in site.present(site.assertion()).json()


def test_response_is_cached_nowhere(ada: Visitor, site: AcceptingServer) -> None:
    assert site.present(site.assertion()).headers["Cache-Control"] == "no-store"


def test_second_call_needs_no_exchange(ada: Visitor, site: AcceptingServer) -> None:
    assert get_token(ada, "notes") == get_token(ada, "notes") == stored_tokens(ada, "notes")
    assert len(site.provider.exchanges) == 1


def test_other_token_is_had_without_the_person(ada: Visitor, site: AcceptingServer) -> None:
    first = get_token(ada, "notes")
    drop_tokens(ada, "notes")
    second = get_token(ada, "notes")
    assert first.access_token != second.access_token
    assert [site.call(each.access_token) for each in (first, second)] == [200, 200]


def test_assertion_is_accepted_once(ada: Visitor, site: AcceptingServer) -> None:
    assertion = site.assertion()
    assert site.present(assertion).status_code == 200
    assert site.rejects(assertion)


@each_case(
    "claims",
    [
        {"client_id": "another"},
        {"aud": "https://another.example"},
        {"aud": "{issuer}.example"},
        {"exp": 1},
        {"iat": 1},
        {"sub": ABSENT},
        {"resource": "https://another.example/mcp"},
        {"iss": "https://another.example"},
        {"header": {"typ": "JWT"}},
    ],
)
def test_wrong_assertion_is_rejected(
    ada: Visitor, site: AcceptingServer, claims: dict[str, Any]
) -> None:
    changed: dict[str, Any] = {
        name: value.replace("{issuer}", site.issuer) if isinstance(value, str) else value
        for name, value in claims.items()
    }
    assert site.rejects(site.assertion(**changed))


def test_assertion_of_another_key_is_rejected(ada: Visitor, site: AcceptingServer) -> None:
    assert site.rejects(site.assertion(key=new_key()))


def test_id_token_is_no_assertion(ada: Visitor, site: AcceptingServer) -> None:
    assert site.rejects(str(stored_tokens(ada).id_token))


def test_wrong_secret_is_the_clients_fault(ada: Visitor, site: AcceptingServer) -> None:
    assert site.rejects(site.assertion(), "invalid_client", secret="wrong")


def test_client_without_its_secret_leads_to_connect(
    ada: Visitor, site: AcceptingServer, settings: Settings
) -> None:
    site.declare(settings, CLIENT_SECRET="wrong")
    assert_no_token(ada, ReauthenticationRequired, "notes")
    site.declare(settings)
    assert_no_token(ada, ReauthenticationRequired, "notes")
    assert len(site.provider.exchanges) == 1


def test_resource_of_the_request_must_be_the_servers(ada: Visitor, site: AcceptingServer) -> None:
    elsewhere = "https://another.example/mcp"
    assert site.rejects(site.assertion(), "invalid_target", resource=elsewhere)


def test_assertion_without_the_claim_resource_is_for_the_requests(
    ada: Visitor, site: AcceptingServer
) -> None:
    assertion = site.assertion(resource=ABSENT)
    if site.requires_resource:  # FastMCP 4.2.3: the draft leaves the claim out by choice.
        assert site.rejects(assertion)
    else:
        assert site.call(site.present(assertion).json()["access_token"]) == 200


def test_token_is_not_the_providers(ada: Visitor, site: AcceptingServer) -> None:
    token = get_token(ada, "notes").access_token
    assert token not in site.provider.secrets


def test_two_people_get_tokens_of_their_own(ada: Visitor, site: AcceptingServer) -> None:
    first = get_token(ada, "notes")
    site.provider.person = some_person() | {"email": "bob@example.com", "name": "Bob"}
    bob = Visitor()
    bob.sign_in_directly(site.provider)
    second = get_token(bob, "notes")
    assert second.asserted_subject == site.provider.person["sub"] != first.asserted_subject
    assert first.access_token != second.access_token
