"""Addresses of the authorization server, to include at the root where it is switched on."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from oauth.clients.endpoints import discovery, tokens
from oauth.clients.endpoints.authorization import authorize


class Rest(StringConverter):
    """What follows an upstream's name: nothing, or from a slash on."""

    regex = "(?:/.*)?"


register_converter(Rest, "oauth_clients_rest")

RESOURCE = ".well-known/oauth-protected-resource/gateway/"

urlpatterns = [
    path(
        ".well-known/oauth-protected-resource",
        discovery.sole_protected_resource,
        name="oauth_clients_only_resource",
    ),
    path(
        f"{RESOURCE}<slug:upstream><oauth_clients_rest:rest>",
        discovery.protected_resource,
        name="oauth_clients_resource",
    ),
    path(
        ".well-known/oauth-authorization-server",
        discovery.server_metadata,
        name="oauth_clients_metadata",
    ),
    path("oauth/register", discovery.register, name="oauth_clients_register"),
    path("oauth/authorize", authorize, name="oauth_clients_authorize"),
    path("oauth/token", tokens.token, name="oauth_clients_token"),
    # Where MCP clients refresh that keep their tokens and not the metadata: the SDK for Python, and
    # what is built with it (MCP 2025-03-26, "Fallbacks for Servers without Metadata Discovery").
    path("token", tokens.token, name="oauth_clients_token_of_old"),
    path("oauth/revoke", tokens.revoke, name="oauth_clients_revoke"),
]
