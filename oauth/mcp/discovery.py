"""Finds the authorization server of a connected MCP server, and compares it with what was pinned.

Takes an `McpServer`, returns `Discovered`. Call it on behalf of a signed-in person or in a command:
it sends requests to strangers, each document at most once a minute for each process.

An MCP server chooses the issuer, so a hostile one could name somebody else's, and have people's
tokens of that issuer sent to it. So only an issuer at the server's own origin is pinned by itself;
the operator has to accept any other. An issuer or an endpoint at a reserved origin is only accepted
if the operator set the issuer. Endpoints may otherwise have other origins than their issuer: public
servers have them, and a hostile one could redirect from its own origin anyway.
"""

import logging
import shlex
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.exceptions import IssuerNotAccepted, PinMismatch, ProviderUnavailable
from oauth.mcp import pins
from oauth.mcp.pins import Pin
from oauth.mcp.provider import Client, provider_of
from oauth.mcp.reserved_origins import (
    check_origins,
    endpoints_of,
    provider_origins,
    reserved_origins,
)
from oauth.mcp.resource_metadata import ResourceMetadata, load_resource_metadata, origin_of
from oauth.mcp.servers import McpServer
from oauth.provider.config import ProviderConfig, all_providers
from oauth.provider.id_jag import ID_JAG, PROFILE
from oauth.provider.metadata import Metadata, load_metadata

logger = logging.getLogger(__name__)

OFFLINE_ACCESS = "offline_access"  # OpenID Connect Core section 11


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
            hosts=tuple(sorted({urlsplit(url).netloc for url in endpoints_of(self.metadata)})),
        )

    @property
    def issuer_setting(self) -> str:
        """The variable with which the operator fixes the issuer."""
        return _issuer_setting(self.server, self.issuer)

    @property
    def is_issuer_elsewhere(self) -> bool:
        """Return True if the issuer's origin is not the server's."""
        return origin_of(self.issuer) != self.server.origin


def discover(server: McpServer) -> Discovered:
    """Return how to connect a server; pin it if nothing is pinned yet.

    Raises ProviderUnavailable if it cannot be used or reached, PinMismatch if it names another
    issuer or resource than the pinned one, IssuerNotAccepted if nothing is pinned and the issuer is
    elsewhere, ProviderRefused if the operator has to set the issuer, and StoreUnavailable.
    """
    pin = pins.load_pin(server)
    found = _inspect(server, pin)
    if pin is None:
        # Another process may be faster, and have seen something else.
        return found if pins.add_pin(server, found.pin) else inspect(server)
    if found.issuer != pin.issuer:  # The operator set it.
        pins.replace_pin(server, replace(found.pin, scopes=pin.scopes))
    return found


def announced_assertions(found: Discovered) -> tuple[bool, dict[str, bool | None]]:
    """Return whether a server's issuer, and which providers, announce that they support ID-JAG.

    Reads the metadata of the provider that vouches for people at the server; without one, of all
    providers if the issuer announces it. The value is None for a provider whose metadata cannot be
    fetched.
    """
    named = found.server.id_jag
    is_accepted = _lists(found.metadata, "authorization_grant_profiles_supported", PROFILE)
    wanted = {named} if named or not is_accepted else {each.name for each in all_providers()}
    providers = [each for each in all_providers() if each.name in wanted and each.issuer]
    return is_accepted, {each.name: _announces_assertions(each) for each in providers}


def _announces_assertions(provider: ProviderConfig) -> bool | None:
    try:
        found = load_metadata(provider)
    except ProviderUnavailable:
        return None
    return _lists(found, "identity_chaining_requested_token_types_supported", ID_JAG)


def _lists(found: Metadata, member: str, name: str) -> bool:
    listed = found.document.get(member)
    return isinstance(listed, list) and name in listed


def inspect(server: McpServer, *, ignore_pin: bool = False) -> Discovered:
    """Return what `discover` does, without storing anything. Raises the same.

    With ``ignore_pin`` nothing is compared, and any issuer is inspected, so that an operator can
    compare it: see `accept`.
    """
    if ignore_pin:
        return _inspect(server, None, is_accepting=True)
    return _inspect(server, pins.load_pin(server))


def accept(found: Discovered) -> bool:
    """Pin what was found, whatever is pinned; return False if another writer was faster.

    Raises StoreUnavailable.
    """
    return pins.replace_pin(found.server, found.pin)


def _inspect(server: McpServer, pin: Pin | None, *, is_accepting: bool = False) -> Discovered:
    found = load_resource_metadata(server)
    try:
        issuer = _choose_issuer(server, found, pin)
        is_accepted = is_accepting or pin is not None or server.issuer is not None
        return _compare(_discover(server, found, issuer, is_accepted=is_accepted), pin)
    except PinMismatch as exc:
        logger.error("%s: %s (%s)", server.name, exc, exc.code)  # noqa: TRY400 - the reason is complete
        raise


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


def _discover(
    server: McpServer, found: ResourceMetadata, issuer: str, *, is_accepted: bool
) -> Discovered:
    reserved = set() if issuer == server.issuer else reserved_origins(server)
    check_origins([issuer], reserved)
    if not is_accepted and origin_of(issuer) != server.origin:
        raise IssuerNotAccepted(
            "The MCP server names an authorization server at another origin.",
            _issuer_setting(server, issuer),
        )
    provider = provider_of(server, Client("", issuer, found.resource))
    metadata = load_metadata(provider)
    if issuer != server.issuer:
        # A provider's metadata could name the server or its issuer, and lock the server out.
        own = {origin_of(issuer), server.origin}
        check_origins(endpoints_of(metadata), reserved | (provider_origins() - own))
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


def _issuer_setting(server: McpServer, issuer: str) -> str:
    # Quoted, since a stranger chose it and an operator may paste it into a shell.
    return f"UPSTREAM_{server.name.upper()}_ISSUER={shlex.quote(issuer)}"
