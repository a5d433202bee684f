"""The metadata document of an MCP server's authorization server (RFC 8414).

It is a stranger's document: an MCP server names the issuer, and nobody compared it with anything.
So its issuer must be identical to the named one, S256 must be announced, and it must come from a
public address, or from the network from which the MCP server itself responds, whose address comes
from the settings.

https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization/authorization-server-discovery
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.vetted_addresses import ANYWHERE, PUBLIC, Network, Reach, network_of
from oauth.network.well_known import fetch_document, well_known_url

SERVER_REQUIRED = ("authorization_endpoint", "token_endpoint")
SERVER_OPTIONAL = (
    "registration_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
)
# Browsers take a name that ends in one for an address, in a notation of their own
# (https://url.spec.whatwg.org/#ends-in-a-number-checker).
NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")
URL_MAX = 2000  # characters of an issuer or an endpoint
OAUTH, OPENID = "oauth-authorization-server", "openid-configuration"
PROTECTED_RESOURCE = "oauth-protected-resource"  # RFC 9728
REMEDY = "If this is intended, set the upstream's UPSTREAM_<NAME>_ALLOW_PRIVATE to 1."


def metadata_urls(issuer: str) -> list[str]:
    """Return the addresses of an issuer's metadata, in the order that MCP prescribes."""
    urls = [well_known_url(issuer, OAUTH), well_known_url(issuer, OPENID)]
    if urlsplit(issuer).path.rstrip("/"):
        urls.append(f"{issuer.rstrip('/')}/.well-known/{OPENID}")
    return urls


def fetch_server_document(
    issuer: str, resource: str, *, allow_private: bool, ca_file: str | None
) -> tuple[dict[str, Any], Reach]:
    """Return the metadata document, and where its endpoints may be.

    ``resource`` is an address of the MCP server. Raises ProviderUnavailable.
    """
    if len(issuer) > URL_MAX or {"?", "#"} & set(issuer):  # RFC 8414 section 2
        raise ProviderUnavailable("The issuer is not a plain address.", Code.METADATA_ISSUER)
    reach = replace(ANYWHERE, ca_file=ca_file)
    if not allow_private:
        reach = _reach_beside(resource, reach)
    return fetch_document(metadata_urls(issuer), reach=reach, remedy=REMEDY).members, reach


def _reach_beside(resource: str, reach: Reach) -> Reach:
    """Return the public network, and the one from which the MCP server responds."""
    address = well_known_url(resource, PROTECTED_RESOURCE)
    response = http.request("HEAD", address, {}, None, reach=reach, timeout=http.GET_TIMEOUT)
    public = replace(PUBLIC, ca_file=reach.ca_file)
    return public if response.peer is None else public.with_network_of(response.peer)


def check_server_document(document: Mapping[str, Any], issuer: str, reach: Reach) -> None:
    """Raise ProviderUnavailable if the document must not be used, ValueError if it is malformed.

    It must name the issuer, announce S256, and have endpoints within reach. Host names are resolved
    and checked at each request; but the authorization endpoint is requested by the browser, which
    must not be sent to an address inside somebody's network.
    """
    if document.get("issuer") != issuer:
        raise ProviderUnavailable(
            "The authorization server's metadata names another issuer.", Code.METADATA_ISSUER
        )
    methods = document.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or "S256" not in methods:
        raise ProviderUnavailable(
            "The authorization server does not announce the code challenge method S256.",
            Code.METADATA_PKCE,
        )
    endpoints = (document.get(name) for name in (*SERVER_REQUIRED, *SERVER_OPTIONAL))
    for url in endpoints:
        if isinstance(url, str) and not (len(url) <= URL_MAX and _is_within(url, reach)):
            raise ProviderUnavailable(
                "An endpoint of the authorization server is at a private address, or too long.",
                Code.METADATA_ENDPOINT,
            )


def _is_within(url: str, reach: Reach) -> bool:
    """Return False for a host that is an address, or a name of this machine, out of reach."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    try:
        return network_of(host) in reach.networks
    except ValueError:
        if NUMBER.fullmatch(host.rpartition(".")[2]):
            return False
        is_local = f".{host}".endswith(".localhost")
        return Network.LOOPBACK in reach.networks or not is_local
