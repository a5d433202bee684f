"""What an MCP server says about its authorization (RFC 9728).

Takes an `McpServer`, returns `ResourceMetadata`. A request without a token shows where the metadata
is; if it does not, it is at the well-known addresses, first with the path, then without it. Only
addresses of the server's own origin are requested. The metadata is cached for five minutes, and
fetched at most once a minute by each process, also after a failure.

https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization/authorization-server-discovery
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.mcp.challenge import bearer_parameters
from oauth.mcp.servers import McpServer
from oauth.network import http
from oauth.network.document_cache import DocumentCache
from oauth.network.vetted_addresses import ANYWHERE, Reach
from oauth.network.well_known import UNREADABLE, NoDocument, fetch_document, well_known_url
from oauth.provider.granted_scope import SCOPE
from oauth.provider.server_metadata import PROTECTED_RESOURCE, REMEDY, URL_MAX

logger = logging.getLogger(__name__)

MAX_AGE = 300  # seconds
ISSUERS_MAX = 20
SCOPES_MAX = 100
SCOPES_LENGTH_MAX = 2000  # characters of all scopes together: they become part of an address
URL = re.compile(r"(https?)://([^/?#@\\]+)((?:/[!-~]*)?)")
URL_CHARACTERS = re.compile(r"[!-~]+")  # RFC 3986
HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|(?=[0-9a-f.]*:)[0-9a-f:.]*")
DEFAULT_PORTS = {"http": 80, "https": 443}

# What a client of any version sends first. Servers check the token before the message.
PROBE = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"django-gateway","version":"1"}}}'
)
PROBE_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}


@dataclass(frozen=True, kw_only=True)
class ResourceMetadata:
    """``resource`` is as received; ``issuers`` are those of the authorization servers.

    ``scopes`` are to be requested, None if the server does not say; ``supported_scopes`` are those
    that the document lists. Neither is read if the operator set the scopes. ``url`` is the
    document's address, None if there is none.
    """

    url: str | None
    resource: str
    issuers: tuple[str, ...]
    scopes: tuple[str, ...] | None
    supported_scopes: tuple[str, ...]


def load_resource_metadata(server: McpServer) -> ResourceMetadata:
    """Return the server's metadata. Raises ProviderUnavailable."""
    return _cache.of(server).get()


def covers(resource: str, server: McpServer) -> bool:
    """Return True if a resource is the server's address, or one above it.

    It has the same origin, and its path is a prefix of the declared one that ends at a segment's
    border. RFC 9728 section 3.3 asks for equality, but many servers name their origin.
    """
    match = URL.fullmatch(resource)
    if match is None or len(resource) > URL_MAX or {"?", "#"} & set(resource):
        return False
    path, declared = match[3].rstrip("/"), urlsplit(server.url).path.rstrip("/")
    return origin_of(resource) == server.origin and (declared + "/").startswith(path + "/")


def origin_of(url: str) -> str | None:
    """Return an address's normalized scheme, host and port.

    None if it has none, or if programs might read it differently: one name must not be able to pass
    for another.
    """
    # `urlsplit` drops tabs and line breaks, and takes quadratic time for what is not ASCII.
    if len(url) > URL_MAX or not URL_CHARACTERS.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in DEFAULT_PORTS or "@" in parts.netloc or not HOST.fullmatch(host):
        return None
    host = f"[{host}]" if ":" in host else host
    is_default = port in {None, DEFAULT_PORTS[parts.scheme]}
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def _fetch_and_log(server: McpServer) -> ResourceMetadata:
    try:
        return _fetch(server)
    except ProviderUnavailable as exc:
        logger.warning("Could not discover the authorization of %s: %s", server.name, exc)
        raise


def _fetch(server: McpServer) -> ResourceMetadata:
    # The address comes from the settings, so it may be in any network.
    reach = replace(ANYWHERE, ca_file=server.ca_file)
    challenge = _challenge(server, reach)
    try:
        found = fetch_document(_metadata_urls(server, challenge), reach=reach, remedy=REMEDY)
    except NoDocument as exc:
        if server.issuer is not None:  # Older servers have no such document.
            return _describe(server, None, {}, challenge)
        raise _renamed(exc) from None
    return _describe(server, found.url, found.members, challenge)


def _challenge(server: McpServer, reach: Reach) -> Mapping[str, str]:
    """Return the parameters of the challenge to a request without a token; none if there is none.

    A server that also serves people without a token may answer at length, or without end.
    """
    try:
        response = http.request(
            "POST", server.url, PROBE_HEADERS, PROBE, reach=reach, timeout=http.GET_TIMEOUT
        )
    except ProviderUnavailable as exc:
        if exc.code not in {*UNREADABLE, Code.TIMEOUT}:
            raise
        return {}
    return bearer_parameters(response.challenge) if response.status == 401 else {}


def _renamed(error: NoDocument) -> ProviderUnavailable:
    if error.code is Code.METADATA_STATUS:
        return ProviderUnavailable(
            "The MCP server has no metadata that names its authorization server.",
            Code.RESOURCE_STATUS,
        )
    return ProviderUnavailable(str(error), Code.RESOURCE_UNREADABLE)


def _metadata_urls(server: McpServer, challenge: Mapping[str, str]) -> list[str]:
    named = challenge.get("resource_metadata", "")
    is_own = URL.fullmatch(named) and len(named) <= URL_MAX and origin_of(named) == server.origin
    return [
        *([named] if is_own else []),
        well_known_url(server.url, PROTECTED_RESOURCE),
        well_known_url(server.origin, PROTECTED_RESOURCE),
    ]


def _describe(
    server: McpServer, url: str | None, document: Mapping[str, Any], challenge: Mapping[str, str]
) -> ResourceMetadata:
    """Check the metadata. Raises ProviderUnavailable."""
    resource = document.get("resource") if url else server.url
    if not isinstance(resource, str) or not covers(resource, server):
        raise ProviderUnavailable(
            "The MCP server's metadata is about another resource.", Code.RESOURCE_OTHER
        )
    requested = supported = None
    if server.scopes is None:
        supported = _read_scopes(document.get("scopes_supported"))
        requested = _read_scopes(challenge.get("scope", "").split())
    return ResourceMetadata(
        url=url,
        resource=resource,
        issuers=_read_issuers(server, document.get("authorization_servers")),
        scopes=supported if requested is None else requested,
        supported_scopes=supported or (),
    )


def _read_issuers(server: McpServer, listed: object) -> tuple[str, ...]:
    found = listed if isinstance(listed, list) else []
    issuers = tuple(each for each in found[:ISSUERS_MAX] if isinstance(each, str) and each)
    if not issuers and server.issuer is None:
        raise ProviderUnavailable(
            "The MCP server's metadata names no authorization server.", Code.RESOURCE_UNREADABLE
        )
    return issuers


def _read_scopes(listed: object) -> tuple[str, ...] | None:
    """Return scopes without repetitions; None if there are none."""
    if not isinstance(listed, list) or not listed:
        return None
    scopes = tuple(dict.fromkeys(each for each in listed if isinstance(each, str)))
    is_usable = all(map(SCOPE.fullmatch, scopes)) and len(scopes) <= SCOPES_MAX
    if not is_usable or len(" ".join(scopes)) > SCOPES_LENGTH_MAX:
        raise ProviderUnavailable(
            "The MCP server names scopes that cannot be requested.", Code.RESOURCE_UNREADABLE
        )
    return scopes


_cache = DocumentCache(_fetch_and_log, max_age=MAX_AGE, max_stale=3600)
