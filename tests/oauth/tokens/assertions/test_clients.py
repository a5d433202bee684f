"""Which client the gateway is at the server's issuer, and what both sides announce."""

import jwt
import pytest
from pytest_django import Settings

from oauth.exceptions import ReauthenticationRequired
from oauth.mcp.urls import urlpatterns as documents
from oauth.urls import urlpatterns as pages
from tests.oauth.support.asserting import AT_NOTES, AssertionServer, declare_asserted
from tests.oauth.support.fake_provider import CLIENT_ID
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.mcp_server import McpResource
from tests.oauth.support.requests import get_token
from tests.sessions_kms.support.commands import run

urlpatterns = [*documents, *pages]
ORIGIN = "https://gateway.example.com"
DOCUMENT = f"{ORIGIN}/oauth/clients/notes.json"


def test_secret_goes_to_the_issuer_alone(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    settings: Settings,
) -> None:  # fmt: skip
    server.more_of_metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    declare_asserted(settings, notes, CLIENT_SECRET="canary-of-a-secret")
    get_token(signed_in, "notes")
    [form] = server.forms
    assert (form["client_id"], form["client_secret"]) == (AT_NOTES, "canary-of-a-secret")
    assert "canary-of-a-secret" not in str(corp.exchanges)


def test_client_with_basic_is_named_in_the_form_too(
    signed_in: Visitor, notes: McpResource, server: AssertionServer, settings: Settings
) -> None:
    """As the MCP SDK for Python (2.3) has it: it looks for the client in the form first."""
    server.more_of_metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    declare_asserted(settings, notes, CLIENT_SECRET="canary-of-a-secret")
    get_token(signed_in, "notes")
    [form] = server.forms
    assert form["client_id"] == AT_NOTES
    assert "client_secret" not in form


def test_document_is_the_client_and_says_so(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    settings: Settings,
) -> None:  # fmt: skip
    settings.ROOT_URLCONF = __name__
    settings.OAUTH_MCP_CLIENT = {"name": "Ours", "origin": ORIGIN, "documents": True}
    server.more_of_metadata = {
        "client_id_metadata_document_supported": True,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    }
    declare_asserted(settings, notes, CLIENT_ID="")
    corp.client_names[CLIENT_ID] = DOCUMENT
    server.clients[DOCUMENT] = {}
    get_token(signed_in, "notes")
    [form] = server.forms
    shown = jwt.decode(form["client_assertion"], options={"verify_signature": False})
    assert (shown["iss"], shown["aud"]) == (DOCUMENT, server.issuer)
    document = signed_in.client.get("/oauth/clients/notes.json").json()
    assert document["client_id"] == DOCUMENT
    assert "urn:ietf:params:oauth:grant-type:jwt-bearer" in document["grant_types"]


def test_gateway_registers_nowhere_for_it(
    signed_in: Visitor, corp: IdJagProvider, notes: McpResource, server: AssertionServer,
    settings: Settings,
) -> None:  # fmt: skip
    declare_asserted(settings, notes, CLIENT_ID="")
    with pytest.raises(ReauthenticationRequired):
        get_token(signed_in, "notes")
    assert not server.registrations
    assert not corp.exchanges


def test_command_shows_what_both_sides_announce(
    corp: IdJagProvider, notes: McpResource, server: AssertionServer, settings: Settings
) -> None:
    answer = run("discover_upstream", "notes", "--json").json
    assert answer["id_jag"] == {"issuer": True, "providers": {"corp": True}}
    shown = run("discover_upstream", "notes").out
    assert "ID-JAG      issuer announces it, corp announces it" in shown
    declare_asserted(settings, notes, ID_JAG="")
    assert "issuer announces it, corp announces it" in run("discover_upstream", "notes").out
