"""Which client the gateway is at the server's issuer, and what both sides announce."""

import jwt
from pytest_django import Settings

from oauth.exceptions import ReauthenticationRequired
from oauth.mcp.urls import urlpatterns as documents
from oauth.provider.id_jag import PROFILE
from oauth.provider.metadata import clear_metadata_cache
from oauth.urls import urlpatterns as pages
from tests.oauth.support.asserting import AT_NOTES, AssertionServer, declare_asserted
from tests.oauth.support.fake_provider import CLIENT_ID
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.mcp_server import McpResource
from tests.oauth.support.requests import assert_no_token, get_token
from tests.sessions_kms.support.commands import run
from tests.support.cases import each_case

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
    assert_no_token(signed_in, ReauthenticationRequired, "notes")
    assert not server.registrations
    assert not corp.exchanges


def test_command_shows_what_both_sides_announce(
    corp: IdJagProvider, notes: McpResource, server: AssertionServer, settings: Settings
) -> None:
    response = run("discover_upstream", "notes", "--json").json
    assert response["id_jag"] == {"issuer": True, "providers": {"corp": True}}
    shown = run("discover_upstream", "notes").out
    assert "ID-JAG      issuer announces it, corp announces it" in shown
    declare_asserted(settings, notes, ID_JAG="")
    assert "issuer announces it, corp announces it" in run("discover_upstream", "notes").out


@each_case(
    ("profiles", "named", "fetched"),
    [([PROFILE], "corp", 1), ([PROFILE], "", 1), ([], "corp", 1), ([], "", 0)],
)
def test_command_fetches_the_metadata_that_it_shows(  # noqa: PLR0917 - fixtures
    corp: IdJagProvider,
    notes: McpResource,
    settings: Settings,
    profiles: list[str],
    named: str,
    fetched: int,
) -> None:
    notes.authorization.more_of_metadata = {"authorization_grant_profiles_supported": profiles}
    declare_asserted(settings, notes, ID_JAG=named)
    fetches: list[None] = []
    corp.hooks["/.well-known/openid-configuration"] = lambda: fetches.append(None)
    clear_metadata_cache()
    assert run("discover_upstream", "notes").status == 0
    assert len(fetches) == fetched
