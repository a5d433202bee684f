"""Where clients learn whom to ask: the metadata of what they call, and of who gives the tokens.

RFC 9728 and RFC 8414. All of it comes from the settings: nothing of a request is repeated but the
path of an upstream that is offered.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from oauth.clients.endpoints.answers import for_programs, json_answer
from oauth.clients.rules import resources
from oauth.clients.rules.registration import GRANT_TYPES, RESPONSE_TYPES
from oauth.clients.server import AuthorizationServer, authorization_server

KEPT = {"Cache-Control": "public, max-age=300"}


@for_programs("GET", "HEAD")
def protected_resource(request: HttpRequest, upstream: str, rest: str = "") -> HttpResponse:
    """Tell who gives tokens for an upstream (RFC 9728 section 2).

    The resource is exactly the address that was asked about, since strict clients compare it.
    """
    server = authorization_server()
    if upstream not in server.upstreams or not resources.is_below(rest):
        raise Http404
    return _described(server, upstream, rest)


@for_programs("GET", "HEAD")
def only_protected_resource(request: HttpRequest) -> HttpResponse:
    """Tell the same at the root, where some clients look, if one upstream is offered.

    RFC 9728 section 3.1: at the root it would describe the whole origin. With several upstreams
    none of them may be named for it.
    """
    server = authorization_server()
    if len(server.upstreams) != 1:
        raise Http404
    (upstream,) = server.upstreams
    return _described(server, upstream)


def _described(server: AuthorizationServer, upstream: str, rest: str = "") -> HttpResponse:
    document = {
        "resource": resources.resource_of(server.issuer, upstream) + rest,
        "authorization_servers": [server.issuer],
        "scopes_supported": [upstream],
        "bearer_methods_supported": ["header"],
        "resource_name": upstream,
    }
    return json_answer(document, headers=KEPT)


@for_programs("GET", "HEAD")
def server_metadata(request: HttpRequest) -> HttpResponse:
    """Tell what the authorization server is and can (RFC 8414 section 2)."""
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
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": True,
        # draft-ietf-oauth-refresh-token-expiration-03
        "refresh_token_expiration_types_supported": ["authorization", "token_timeout"],
        "client_id_metadata_document_supported": server.metadata_documents,
    }
    if server.registration:
        document["registration_endpoint"] = server.issuer + reverse("oauth_clients_register")
    return json_answer(document, headers=KEPT)
