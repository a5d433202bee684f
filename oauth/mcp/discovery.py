"""Finds the authorization server of a connected MCP server, and compares it with what was pinned.

Takes an `McpServer`, returns `Discovered`. Call it on behalf of a signed-in person or in a command:
it sends requests to strangers, each document at most once a minute for each process.

An MCP server chooses the issuer, so a hostile one could name the company's own provider, and have
people's tokens of that provider sent to it. An issuer or an endpoint that has the origin of a
provider, of this gateway, of another upstream, or of another MCP server's authorization server is
only accepted if the operator set the issuer. Servers of one origin may share theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from django.conf import settings

from oauth.codes import Code
from oauth.exceptions import PinMismatch, ProviderUnavailable
from oauth.mcp import pins
from oauth.mcp.pins import Pin
from oauth.mcp.resource_metadata import ResourceMetadata, load_resource_metadata, origin_of
from oauth.mcp.servers import McpServer, all_servers
from oauth.provider.config import MCP_KIND, ProviderConfig, all_providers
from oauth.provider.metadata import Metadata, load_metadata

logger = logging.getLogger(__name__)

OFFLINE_ACCESS = "offline_access"  # OpenID Connect Core section 11
FIXED_ENDPOINTS = ("authorize_url", "access_token_url")


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """How to connect a server. ``resource`` is sent as it was received, byte for byte.

    ``scopes`` are to be requested; if there are none, no `scope` is sent. ``new_scopes`` are those
    among them that are not pinned: request them only after a page that names them. ``new_hosts``
    are hosts of endpoints that are not pinned. ``url`` is the address of the resource's metadata,
    None if it has none and the operator set the issuer; ``is_listed`` says whether that metadata
    names the issuer.
    """

    server: McpServer
    issuer: str
    resource: str
    scopes: tuple[str, ...]
    metadata: Metadata
    new_scopes: tuple[str, ...] = ()
    new_hosts: tuple[str, ...] = ()
    url: str | None = None
    is_listed: bool = True

    @property
    def pin(self) -> Pin:
        """What is pinned of it."""
        return Pin(
            issuer=self.issuer,
            resource=self.resource,
            scopes=self.scopes,
            hosts=tuple(sorted({urlsplit(url).netloc for url in _endpoints_of(self.metadata)})),
        )

    @property
    def issuer_setting(self) -> str:
        """The variable with which the operator fixes the issuer."""
        return f"UPSTREAM_{self.server.name.upper()}_ISSUER={self.issuer}"


def discover(server: McpServer) -> Discovered:
    """Return how to connect a server; pin it if nothing is pinned yet.

    Raises ProviderUnavailable if it cannot be used or reached, PinMismatch if it names another
    issuer or resource than the pinned one, and StoreUnavailable.
    """
    pin = pins.load_pin(server)
    found = _inspect(server, pin)
    if pin is None:
        # Another process may be faster, and have seen something else.
        return found if pins.add_pin(server, found.pin) else inspect(server)
    if found.issuer != pin.issuer:  # The operator set it.
        pins.replace_pin(server, replace(found.pin, scopes=pin.scopes))
    return found


def inspect(server: McpServer, *, ignore_pin: bool = False) -> Discovered:
    """Return what `discover` does, without storing anything. Raises the same.

    With ``ignore_pin`` nothing is compared, so that a person can: see `accept`.
    """
    return _inspect(server, None if ignore_pin else pins.load_pin(server))


def accept(found: Discovered) -> bool:
    """Pin what was found, whatever is pinned; return False if another writer was faster.

    Raises StoreUnavailable.
    """
    return pins.replace_pin(found.server, found.pin)


def _inspect(server: McpServer, pin: Pin | None) -> Discovered:
    found = load_resource_metadata(server)
    try:
        return _compare(_discover(server, found, _choose_issuer(server, found, pin)), pin)
    except PinMismatch as exc:
        logger.error("%s: %s (%s)", server.name, exc, exc.code)  # noqa: TRY400 - the reason is complete
        raise


def metadata_provider(server: McpServer, *, issuer: str, resource: str) -> ProviderConfig:
    """Return a server's provider without a client, for `load_metadata`."""
    return ProviderConfig(
        name=server.name,
        kind=MCP_KIND,
        label=server.label,
        client_id="",
        client_secret="",
        issuer=issuer,
        resource=resource,
        allow_private=server.allow_private,
        allow_http=server.allow_http,
        ca_file=server.ca_file,
    )


def _choose_issuer(server: McpServer, found: ResourceMetadata, pin: Pin | None) -> str:
    if server.issuer is not None:
        return server.issuer
    if pin is None:
        return found.issuers[0]
    if pin.issuer not in found.issuers:
        raise PinMismatch(
            "The MCP server no longer names the pinned authorization server.", Code.PINNED_ISSUER
        )
    return pin.issuer


def _discover(server: McpServer, found: ResourceMetadata, issuer: str) -> Discovered:
    reserved = set() if issuer == server.issuer else _reserved_origins(server)
    _check_origins([issuer], reserved)
    provider = metadata_provider(server, issuer=issuer, resource=found.resource)
    metadata = load_metadata(provider)
    if issuer != server.issuer:
        _check_origins(_endpoints_of(metadata), reserved | _origins_of_providers())
    return Discovered(
        server=server,
        issuer=issuer,
        resource=found.resource,
        scopes=_choose_scopes(server, found, metadata),
        metadata=metadata,
        url=found.url,
        is_listed=issuer in found.issuers,
    )


def _compare(discovered: Discovered, pin: Pin | None) -> Discovered:
    """Compare with the pin. Raises PinMismatch.

    The issuer was compared before; only one that the operator set may differ.
    """
    if pin is None:
        return discovered
    if discovered.resource != pin.resource:
        raise PinMismatch(
            "The MCP server names another resource than the pinned one.", Code.PINNED_RESOURCE
        )
    known_hosts = pin.hosts if discovered.issuer == pin.issuer else discovered.pin.hosts
    new_hosts = [each for each in discovered.pin.hosts if each not in known_hosts]
    if new_hosts:
        logger.warning(
            "%s: the authorization server has endpoints at new hosts: %s",
            discovered.server.name,
            ", ".join(new_hosts),
        )
    known_scopes = discovered.server.scopes or pin.scopes
    new_scopes = [each for each in discovered.scopes if each not in known_scopes]
    return replace(discovered, new_scopes=tuple(new_scopes), new_hosts=tuple(new_hosts))


def _choose_scopes(
    server: McpServer, found: ResourceMetadata, metadata: Metadata
) -> tuple[str, ...]:
    if server.scopes is not None:
        return server.scopes
    scopes = found.scopes or ()
    is_offered = OFFLINE_ACCESS in {*found.supported_scopes, *metadata.scopes}
    # By itself it would replace the scopes that the server grants by default.
    if scopes and is_offered and OFFLINE_ACCESS not in scopes:
        return (*scopes, OFFLINE_ACCESS)
    return scopes


def _check_origins(urls: list[str], reserved: Set[str | None]) -> None:
    origins = [origin_of(url) for url in urls]
    if None in origins:
        raise ProviderUnavailable(
            "The authorization server has an address that programs read differently.",
            Code.METADATA_ENDPOINT,
        )
    if not reserved.isdisjoint(origins):
        raise ProviderUnavailable(
            "The authorization server has the address of a provider, or of another upstream or its "
            "authorization server.",
            Code.RESERVED_ORIGIN,
        )


def _reserved_origins(server: McpServer) -> set[str]:
    """Return the origins that no MCP server may claim for its authorization server."""
    providers = {origin_of(url) for provider in all_providers() for url in _addresses_of(provider)}
    own = {*getattr(settings, "OAUTH_UPSTREAM_ORIGINS", ()), *_own_addresses()}
    own |= {url for other in all_servers() for url in _addresses_of_other(other, server)}
    others = {origin_of(url) for url in own} - {server.origin}
    return {origin for origin in providers | others if origin is not None}


def _origins_of_providers() -> set[str | None]:
    """Return the origins of the endpoints of all providers that can be reached.

    Those of some providers differ from the issuer's, and are only in its metadata.
    """
    found: set[str | None] = set()
    for provider in all_providers():
        with suppress(ProviderUnavailable):
            found |= {origin_of(url) for url in _endpoints_of(load_metadata(provider))}
    return found - {None}


def _addresses_of(provider: ProviderConfig) -> Iterator[str]:
    if provider.issuer is not None:
        yield provider.issuer
    overrides = provider.metadata_overrides.values()
    yield from (each for each in overrides if isinstance(each, str))
    fixed = (provider.fixed_endpoint(name) for name in FIXED_ENDPOINTS)
    yield from (url for url in fixed if url is not None)


def _addresses_of_other(other: McpServer, server: McpServer) -> Iterator[str]:
    """Yield the addresses of another server's authorization server: as set, and as pinned.

    Raises StoreUnavailable.
    """
    if other.origin == server.origin:
        return
    if other.issuer is not None:
        yield other.issuer
    pin = pins.load_pin(other)
    if pin is not None and other.issuer in {None, pin.issuer}:
        yield pin.issuer
        yield from (f"{urlsplit(pin.issuer).scheme}://{host}" for host in pin.hosts)


def _own_addresses() -> Iterator[str]:
    """Yield the addresses of this site, if they are known."""
    if public := getattr(settings, "PUBLIC_URL", ""):
        yield public
    if (server := getattr(settings, "AUTHORIZATION_SERVER", None)) is not None:
        yield server.issuer


def _endpoints_of(metadata: Metadata) -> list[str]:
    found = (
        metadata.authorization_endpoint,
        metadata.token_endpoint,
        metadata.registration_endpoint,
        metadata.revocation_endpoint,
        metadata.pushing_endpoint,
    )
    return [url for url in found if url is not None]
