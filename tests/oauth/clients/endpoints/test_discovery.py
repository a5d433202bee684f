"""Metadata are exact for strict clients, and repeat nothing from a request."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from tests.oauth.clients.support.app import ISSUER, SERVER
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

RESOURCE = "/.well-known/oauth-protected-resource"
METADATA = "/.well-known/oauth-authorization-server"


def get(path: str, **options: Any) -> Any:
    return Client().get(path, **options)


@pytest.mark.parametrize("rest", ["", "/", "/mcp", "/mcp/v1/", "/a.b_c~d-e"])
def test_metadata_resource_equals_the_requested_address(
    server: AuthorizationServer, rest: str
) -> None:
    document = get(f"{RESOURCE}/gateway/tools{rest}").json()
    assert document == {
        "resource": f"{ISSUER}/gateway/tools{rest}",
        "authorization_servers": [ISSUER],
        "scopes_supported": ["tools"],
        "bearer_methods_supported": ["header"],
        "resource_name": "tools",
    }


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/gateway",
        "/gateway/",
        "/gateway/absent",
        "/gateway/absent/mcp",
        "/gateway/TOOLS",
        "/gateway/tools2",
        "/gateway/tools/../files",
        "/gateway/tools/%2e%2e/files",
        "/gateway/tools//",
        '/gateway/tools/"x"',
        "/gateway/tools/%3Cscript%3E",
        "/gateway/tools/%0d%0ax",
        "/gateway/tools/" + "x" * 101,
        "/gateway/tools" + "/x" * 21,
    ],
)
def test_other_addresses_have_no_resource_metadata(server: AuthorizationServer, path: str) -> None:
    assert get(RESOURCE + path).status_code == 404


def test_only_upstream_is_described_at_the_root_too(settings: Settings, server: object) -> None:
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"upstreams": {"files": "corp"}})
    settings.ALLOWED_HOSTS = ["*"]
    response = get(RESOURCE, headers={"host": "evil.example", "origin": "https://app.example"})
    assert response.json() == get(f"{RESOURCE}/gateway/files").json()
    assert response.json()["resource"] == f"{ISSUER}/gateway/files"
    assert response["Access-Control-Allow-Origin"] == "*"
    assert not response.cookies
    for path in ("/", "/gateway", "/files", "//gateway/files", "/gateway/tools"):
        assert get(RESOURCE + path).status_code == 404


@pytest.mark.parametrize("names", [[], ["tools", "files"], ["tools", "tools2", "tools3"]])
def test_root_is_no_resource_unless_one_upstream_is_offered(
    settings: Settings, server: object, names: list[str]
) -> None:
    upstreams = dict.fromkeys(names, "corp")
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"upstreams": upstreams})
    response = get(RESOURCE)
    assert response.status_code == 404
    assert response.json()["error"] == "invalid_request"


def test_server_metadata_lists_endpoints_and_capabilities(server: AuthorizationServer) -> None:
    assert get(METADATA).json() == {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/oauth/authorize",
        "token_endpoint": f"{ISSUER}/oauth/token",
        "registration_endpoint": f"{ISSUER}/oauth/register",
        "revocation_endpoint": f"{ISSUER}/oauth/revoke",
        "scopes_supported": ["files", "tools", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": True,
        "refresh_token_expiration_types_supported": ["authorization", "token_timeout"],
        "client_id_metadata_document_supported": True,
    }


def test_disabled_features_are_not_announced(settings: Settings, server: object) -> None:
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        **SERVER | {"registration": False, "metadata_documents": False}
    )
    document = get(METADATA).json()
    assert "registration_endpoint" not in document
    assert document["client_id_metadata_document_supported"] is False
    assert Client().post("/oauth/register", {}, "application/json").status_code == 404


def test_host_header_does_not_change_the_metadata(settings: Settings, server: object) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    for path in (METADATA, f"{RESOURCE}/gateway/tools"):
        assert "evil.example" not in get(path, headers={"host": "evil.example"}).text


def test_metadata_is_readable_everywhere_and_needs_no_cookie(server: object) -> None:
    for path in (METADATA, f"{RESOURCE}/gateway/tools", f"{RESOURCE}/gateway/absent"):
        response = get(path, headers={"origin": "https://app.example"})
        assert response["Access-Control-Allow-Origin"] == "*"
        assert not response.cookies
        assert "Cookie" not in response.get("Vary", "")


def test_sign_in_and_calls_write_no_extra_data_unless_enabled(
    signed_in: Visitor, store: Stack
) -> None:
    assert signed_in.client.get("/").status_code == 200
    kinds = {each.partition("#")[0] for each in store.items() if "#" in each}
    assert "about" in kinds
    assert kinds.isdisjoint({"token", "answer"})
