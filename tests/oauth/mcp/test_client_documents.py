"""Client metadata documents: whom they describe, with which key, and where there are none."""

import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from oauth.clients.rules.client import read_document
from oauth.mcp import client_key
from oauth.mcp.discovery import Discovered
from oauth.mcp.provider import provider_of, with_credentials
from oauth.mcp.registration import DOCUMENT, DYNAMIC, Registration
from oauth.mcp.registrations import registration_for
from oauth.provider.token_endpoint import make_assertion
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.documents import SealedDocuments
from tests.oauth.support import fake_provider
from tests.oauth.support.mcp_server import AuthorizationServer
from tests.oauth.support.registering import CALLBACK, RESOURCE, WIKI, Binding
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.urls("oauth.mcp.urls")

CLIENT_ID = "https://gateway.example/oauth/clients/wiki.json"
KEYS = "https://gateway.example/oauth/clients/wiki/jwks.json"
KEYED = ("none", "private_key_jwt", "client_secret_basic")


@pytest.fixture
def idp(store: Stack, settings: Settings) -> Iterator[AuthorizationServer]:
    settings.OAUTH_MCP_SERVERS = {"wiki": {"url": RESOURCE}}
    settings.OAUTH_MCP_CLIENT = {
        "name": "Acme",
        "origin": "https://gateway.example",
        "documents": True,
    }
    with fake_provider.serving(AuthorizationServer) as server:
        yield server


def discovered_at(
    idp: AuthorizationServer, methods: tuple[str, ...] = KEYED, **more: Any
) -> Discovered:
    return idp.find(documents_supported=True, auth_methods=methods, **more)


def register_client(found: Discovered) -> Registration:
    return registration_for(found, CALLBACK)


def fetch_document(path: str) -> dict[str, Any]:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = "malformed"
    response = client.get(path.removeprefix("https://gateway.example"))
    assert response.status_code == 200
    assert not response.cookies
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "public, max-age=300"
    assert len(response.content) < 5 * 1024
    document: dict[str, Any] = json.loads(response.content)
    return document


def assertion(registration: Registration) -> str:
    binding = Binding(registration.client_id, registration.issuer, RESOURCE)
    provider = with_credentials(provider_of(WIKI, binding), binding)
    return make_assertion(provider, registration.issuer, "https://x.example/token", now=1)


def verify_token(token: str, issuer: str) -> dict[str, Any]:
    """Verify an assertion with the published keys, as a server does."""
    keys = {each.key_id: each for each in jwt.PyJWKSet.from_dict(fetch_document(KEYS)).keys}
    header = jwt.get_unverified_header(token)
    claims: dict[str, Any] = jwt.decode(
        token,
        keys[header["kid"]],
        [header["alg"]],
        audience=issuer,
        options={"verify_exp": False, "verify_iat": False},
    )
    return claims


def test_document_describes_one_client_with_one_method(
    idp: AuthorizationServer, settings: Settings
) -> None:
    settings.MIDDLEWARE = [  # of a project
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    made = register_client(discovered_at(idp))
    assert (made.client_id, made.source, idp.registrations) == (CLIENT_ID, DOCUMENT, [])
    assert fetch_document(CLIENT_ID) == {
        "client_id": CLIENT_ID,
        "client_name": "Acme",
        "client_uri": "https://gateway.example",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "application_type": "web",
        "jwks_uri": KEYS,
    }
    claims = verify_token(assertion(made), idp.issuer)
    assert (claims["iss"], claims["sub"]) == (CLIENT_ID, CLIENT_ID)
    (key,) = fetch_document(KEYS)["keys"]
    assert "d" not in key, "the public half only"
    assert register_client(discovered_at(idp)) == made


def test_document_names_no_key_where_the_server_takes_none(idp: AuthorizationServer) -> None:
    made = register_client(discovered_at(idp, ("none",)))
    assert made.auth_method is None
    document = fetch_document(CLIENT_ID)
    assert document["token_endpoint_auth_method"] == "none"
    assert read_document(CLIENT_ID, document, ()).redirect_uris == (CALLBACK,), "by our own rules"
    assert "jwks_uri" not in document
    # Connections that exist would break if the method changed with the server's metadata.
    assert register_client(discovered_at(idp)) == made
    assert Client().get("/oauth/clients/wiki/jwks.json").status_code == 404


def test_method_that_a_server_takes_no_longer_is_changed(idp: AuthorizationServer) -> None:
    register_client(discovered_at(idp))
    assert register_client(discovered_at(idp, ("none",))).auth_method is None
    assert fetch_document(CLIENT_ID)["token_endpoint_auth_method"] == "none"


@pytest.mark.parametrize(
    ("algorithms", "used"),
    [((), "ES256"), (("RS256", "ES256"), "ES256"), (("RS256",), "RS256"), (("EdDSA",), "ES256")],
)
def test_key_is_of_a_type_that_the_server_takes(
    idp: AuthorizationServer,
    monkeypatch: pytest.MonkeyPatch,
    algorithms: tuple[str, ...],
    used: str,
) -> None:
    monkeypatch.setattr(client_key, "RSA_BITS", 2048)  # faster
    made = register_client(discovered_at(idp, auth_algorithms=algorithms))
    token = assertion(made)
    assert jwt.get_unverified_header(token)["alg"] == used
    verify_token(token, idp.issuer)


def test_changed_key_replaces_the_old_one_at_once_for_all(
    idp: AuthorizationServer, store: Stack
) -> None:
    assert client_key.change_key(store.services, "wiki") is None, "there is none yet"
    made = register_client(discovered_at(idp))
    old = assertion(made)
    changed = client_key.change_key(store.services, "wiki")
    assert changed is not None
    assert [each["kid"] for each in fetch_document(KEYS)["keys"]] == [changed.key_id]
    verify_token(assertion(made), idp.issuer)
    with pytest.raises(KeyError):
        verify_token(old, idp.issuer)
    assert register_client(discovered_at(idp)) == made, "the registration stays"


def test_two_that_change_the_key_at_once_leave_one_of_the_two(
    idp: AuthorizationServer, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = register_client(discovered_at(idp))
    generate, calls = client_key._generate, iter(["ours"])

    def generate_slowly(is_rsa: bool) -> bytes:
        if next(calls, None):  # The other one writes first.
            client_key.change_key(store.services, "wiki")
        return generate(is_rsa)

    monkeypatch.setattr(client_key, "_generate", generate_slowly)
    ours = client_key.change_key(store.services, "wiki")
    assert ours is not None
    assert fetch_document(KEYS)["keys"][0]["kid"] == ours.key_id
    verify_token(assertion(made), idp.issuer)


def test_key_that_another_process_has_published_meanwhile_stays(
    store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, calls, theirs = client_key._generate, iter(["ours"]), list[client_key.ClientKey]()

    def generate_slowly(is_rsa: bool) -> bytes:
        if next(calls, None):  # The other one writes first.
            theirs.append(client_key.ensure_key(store.services, "wiki"))
        return generate(is_rsa)

    monkeypatch.setattr(client_key, "_generate", generate_slowly)
    assert [client_key.ensure_key(store.services, "wiki")] == theirs
    assert [client_key.load_key(store.services, "wiki")] == theirs


def test_key_is_sealed_and_shown_nowhere(
    idp: AuthorizationServer, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = register_client(discovered_at(idp))
    key = client_key.load_key(store.services, "wiki")
    assert key is not None
    private = key.pem.decode().splitlines()[1]
    binding = Binding(made.client_id, made.issuer, RESOURCE)
    provider = with_credentials(provider_of(WIKI, binding), binding)
    assert provider.private_key == key.pem
    assert private not in json.dumps(store.items(), default=repr) + caplog.text
    assert private not in repr(key) + repr(provider) + repr(made)


def test_key_that_is_gone_is_made_again_for_the_next_connection(
    idp: AuthorizationServer, store: Stack
) -> None:
    """As after the end of a leaked data key."""
    register_client(discovered_at(idp))
    run_sync(SealedDocuments(store.services).delete("client-key/wiki"))
    assert Client().get("/oauth/clients/wiki/jwks.json").status_code == 404
    verify_token(assertion(register_client(discovered_at(idp))), idp.issuer)


@pytest.mark.parametrize("path", ["wiki.json", "wiki/jwks.json", "other.json", "other/jwks.json"])
def test_nothing_is_there_before_a_connection_or_without_the_variable(
    idp: AuthorizationServer, settings: Settings, path: str
) -> None:
    assert Client().get(f"/oauth/clients/{path}").status_code == 404
    register_client(discovered_at(idp))
    settings.OAUTH_MCP_CLIENT = settings.OAUTH_MCP_CLIENT | {"documents": False}
    assert Client().get(f"/oauth/clients/{path}").status_code == 404


def test_documents_are_only_used_where_both_sides_want_them(
    idp: AuthorizationServer, settings: Settings
) -> None:
    assert register_client(idp.find()).source == DYNAMIC
    assert register_client(discovered_at(idp)).source == DOCUMENT
    settings.OAUTH_MCP_CLIENT = settings.OAUTH_MCP_CLIENT | {"documents": False}
    assert register_client(discovered_at(idp)).source == DYNAMIC


def test_our_own_authorization_server_gets_no_document_of_ours(
    idp: AuthorizationServer, settings: Settings
) -> None:
    settings.OAUTH_MCP_CLIENT = settings.OAUTH_MCP_CLIENT | {"origin": "http://127.0.0.1:8000"}
    assert register_client(discovered_at(idp)).source == DYNAMIC


def test_outage_is_no_missing_document(idp: AuthorizationServer, store: Stack) -> None:
    """A server that finds none would forget the client."""
    register_client(discovered_at(idp))
    store.dynamodb.on("GetItem document", refuse_write)
    for path in ("wiki.json", "wiki/jwks.json"):
        assert Client().get(f"/oauth/clients/{path}").status_code == 503


def test_requests_of_strangers_read_the_registrations_once_a_minute(
    idp: AuthorizationServer, store: Stack
) -> None:
    first = register_client(discovered_at(idp))
    made = fetch_document(first.client_id)
    assert made["token_endpoint_auth_method"] == "private_key_jwt"
    store.dynamodb.on("GetItem document", refuse_write)
    assert fetch_document(first.client_id) == made
    assert Client().get("/oauth/clients/wiki/jwks.json").status_code == 503  # a key may change
    store.clock.advance(61)
    assert Client().get("/oauth/clients/wiki.json").status_code == 503


def test_document_is_that_of_a_new_registration_at_once(idp: AuthorizationServer) -> None:
    first = register_client(discovered_at(idp))
    assert fetch_document(first.client_id)["token_endpoint_auth_method"] == "private_key_jwt"
    register_client(discovered_at(idp, ("none",)))
    assert fetch_document(first.client_id)["token_endpoint_auth_method"] == "none"
