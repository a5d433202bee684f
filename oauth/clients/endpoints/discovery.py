"""Metadata with the endpoints (RFC 9728, RFC 8414), and registration of clients (RFC 7591).

The metadata comes from the settings; the only part of a request that is repeated is the path of an
upstream that is offered. A registration is not stored: the client's id says what it registered.
"""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from oauth import formats
from oauth.clients.authentication.dpop_proof import PROOF_ALGORITHMS
from oauth.clients.authentication.jws import ALGORITHMS
from oauth.clients.endpoints import api
from oauth.clients.endpoints.api import api_endpoint, json_response
from oauth.clients.id_jag.issuers import find_open_upstreams
from oauth.clients.rules import resources
from oauth.clients.rules.client import JWT_BEARER
from oauth.clients.rules.errors import INVALID_CLIENT_METADATA, RequestRejected
from oauth.clients.rules.registration import GRANT_TYPES, RESPONSE_TYPES, register_client
from oauth.clients.server import KEYS_PATH, AuthorizationServer, authorization_server
from oauth.provider.id_jag import PROFILE

CACHEABLE = {"Cache-Control": "public, max-age=300"}


@api_endpoint("GET", "HEAD")
def protected_resource(request: HttpRequest, upstream: str, rest: str = "") -> HttpResponse:
    """Return the metadata of an upstream, with its authorization server (RFC 9728 section 2).

    The resource is exactly the requested address, since strict clients compare it.
    """
    server = authorization_server()
    if upstream not in server.upstreams or not resources.is_plain_path(rest):
        raise Http404
    return _resource_metadata(server, upstream, rest)


@api_endpoint("GET", "HEAD")
def sole_protected_resource(request: HttpRequest) -> HttpResponse:
    """Return the same at the root, where some clients look, if only one upstream is offered.

    At the root it describes the whole origin (RFC 9728 section 3.1), so it cannot name one of
    several upstreams.
    """
    server = authorization_server()
    if len(server.upstreams) != 1:
        raise Http404
    (upstream,) = server.upstreams
    return _resource_metadata(server, upstream)


def _resource_metadata(server: AuthorizationServer, upstream: str, rest: str = "") -> HttpResponse:
    document: dict[str, Any] = {
        "resource": resources.resource_of(server.issuer, upstream) + rest,
        "authorization_servers": [server.issuer],
        "scopes_supported": [upstream],
        "bearer_methods_supported": ["header"],
        "resource_name": upstream,
    }
    if server.dpop:
        document["dpop_signing_alg_values_supported"] = list(PROOF_ALGORITHMS)
    return json_response(document, headers=CACHEABLE)


@api_endpoint("GET", "HEAD")
def server_metadata(request: HttpRequest) -> HttpResponse:
    """Return the metadata of the authorization server (RFC 8414 section 2)."""
    server = authorization_server()
    document = {
        "issuer": server.issuer,
        "authorization_endpoint": server.issuer + reverse("oauth_clients_authorize"),
        "token_endpoint": server.issuer + reverse("oauth_clients_token"),
        "revocation_endpoint": server.issuer + reverse("oauth_clients_revoke"),
        "scopes_supported": [*sorted(server.upstreams), resources.OFFLINE_ACCESS],
        "response_types_supported": list(RESPONSE_TYPES),
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(server.auth_methods),
        "revocation_endpoint_auth_methods_supported": list(server.auth_methods),
        "authorization_response_iss_parameter_supported": True,
        # draft-ietf-oauth-refresh-token-expiration-03
        "refresh_token_expiration_types_supported": ["authorization", "token_timeout"],
        "client_id_metadata_document_supported": server.metadata_documents,
    }
    if find_open_upstreams(server):
        document["grant_types_supported"] = [*GRANT_TYPES, JWT_BEARER]
        document["authorization_grant_profiles_supported"] = [PROFILE]
    if server.has_keys:
        document["jwks_uri"] = f"{server.issuer}/{KEYS_PATH}"
    if server.private_key_jwt:
        algorithms = list(ALGORITHMS)
        document["token_endpoint_auth_signing_alg_values_supported"] = algorithms
        document["revocation_endpoint_auth_signing_alg_values_supported"] = algorithms
    if server.dpop:  # RFC 9449 section 5.1
        document["dpop_signing_alg_values_supported"] = list(PROOF_ALGORITHMS)
    if server.registration:
        document["registration_endpoint"] = server.issuer + reverse("oauth_clients_register")
    return json_response(document, headers=CACHEABLE)


@api_endpoint("POST")
def register(request: HttpRequest) -> HttpResponse:
    """Register a client; 404 if registration is disabled."""
    server = authorization_server()
    if not server.registration:
        raise Http404
    text = api.read_body(request, api.JSON)
    try:
        metadata = formats.parse_json(text)
    except formats.InvalidJSON:
        raise RequestRejected(INVALID_CLIENT_METADATA, "The request is not valid JSON.") from None
    return json_response(register_client(metadata, server.redirect_uris), status=201)
