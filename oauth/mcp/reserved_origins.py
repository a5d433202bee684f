"""The origins that no MCP server may name as its authorization server's, unless the operator does.

These are the origins of the providers, of this gateway, of other upstreams, and of other MCP
servers' issuers. Servers of one origin may share theirs. The endpoints of a pinned issuer reserve
nothing: otherwise a server could name a host of another one, and lock that out.
"""

from collections.abc import Iterator, Set
from contextlib import suppress

from django.conf import settings

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.mcp import pins
from oauth.mcp.resource_metadata import origin_of
from oauth.mcp.servers import McpServer, all_servers
from oauth.provider.config import ProviderConfig, all_providers
from oauth.provider.metadata import Metadata, load_metadata

FIXED_ENDPOINTS = ("authorize_url", "access_token_url")


def check_origins(urls: list[str], reserved: Set[str | None]) -> None:
    """Raise ProviderRefused for a reserved origin, ProviderUnavailable for an unclear one."""
    origins = [origin_of(url) for url in urls]
    if None in origins:
        raise ProviderUnavailable(
            "The authorization server has an address that programs read differently.",
            Code.METADATA_ENDPOINT,
        )
    if not reserved.isdisjoint(origins):
        raise ProviderRefused(
            "The authorization server has the address of a provider, or of another upstream or its "
            "issuer.",
            Code.RESERVED_ORIGIN,
        )


def reserved_origins(server: McpServer) -> set[str]:
    """Return the origins that this server may not name. Raises StoreUnavailable."""
    providers = {origin_of(url) for provider in all_providers() for url in _addresses_of(provider)}
    own = {*getattr(settings, "OAUTH_UPSTREAM_ORIGINS", ()), *_own_addresses()}
    own |= {url for other in all_servers() for url in _issuers_of_other(other, server)}
    others = {origin_of(url) for url in own} - {server.origin}
    return {origin for origin in providers | others if origin is not None}


def provider_origins() -> set[str | None]:
    """Return the origins of the endpoints of all providers that can be reached.

    Those of some providers differ from the issuer's, and are only in its metadata.
    """
    found: set[str | None] = set()
    for provider in all_providers():
        with suppress(ProviderUnavailable):
            found |= {origin_of(url) for url in endpoints_of(load_metadata(provider))}
    return found - {None}


def _addresses_of(provider: ProviderConfig) -> Iterator[str]:
    if provider.issuer is not None:
        yield provider.issuer
    overrides = provider.metadata_overrides.values()
    yield from (each for each in overrides if isinstance(each, str))
    fixed = (provider.fixed_endpoint(name) for name in FIXED_ENDPOINTS)
    yield from (url for url in fixed if url is not None)


def _issuers_of_other(other: McpServer, server: McpServer) -> Iterator[str]:
    """Yield another server's issuer: as set, or else as pinned. Raises StoreUnavailable."""
    if other.origin == server.origin:
        return
    if other.issuer is not None:
        yield other.issuer
    elif (pin := pins.load_pin(other)) is not None:
        yield pin.issuer


def _own_addresses() -> Iterator[str]:
    """Yield the addresses of this site, if they are known."""
    if public := getattr(settings, "PUBLIC_URL", ""):
        yield public
    if (server := getattr(settings, "AUTHORIZATION_SERVER", None)) is not None:
        yield server.issuer


def endpoints_of(metadata: Metadata) -> list[str]:
    """Return the endpoints to which browsers or this gateway may send something."""
    found = (
        metadata.authorization_endpoint,
        metadata.token_endpoint,
        metadata.registration_endpoint,
        metadata.revocation_endpoint,
        metadata.pushing_endpoint,
    )
    return [url for url in found if url is not None]
