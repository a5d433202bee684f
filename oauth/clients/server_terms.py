"""What a consent page has to name before a client gets access to a connected MCP server."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from oauth.connect.requested_scopes import RequestedScopes
from oauth.mcp import pins
from oauth.mcp.discovery import Discovered
from oauth.mcp.servers import McpServer

ISSUER_FIELD, SCOPE_FIELD = "issuer", "scope"  # of the form, each with the upstream's name


@dataclass(frozen=True)
class ServerTerms:
    """``issuer`` is the authorization server's, or None if it is unknown yet.

    ``scopes`` are those that will be requested for the first time.
    """

    server: McpServer
    issuer: str | None
    scopes: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The host of the MCP server, and of its resource, for display."""
        return urlsplit(self.server.url).netloc

    @property
    def issuer_host(self) -> str:
        """The host of the issuer, for display; empty if it is unknown."""
        return urlsplit(self.issuer or "").netloc

    def were_named(self, form: Mapping[str, str], upstream: str) -> bool:
        """Return True if the page with this form named all of it."""
        issuer = form.get(f"{ISSUER_FIELD}-{upstream}", "")
        scopes = form.get(f"{SCOPE_FIELD}-{upstream}", "").split()
        return issuer == self.issuer and set(self.scopes) <= set(scopes)


def known_terms(server: McpServer, wanted: tuple[str, ...]) -> ServerTerms:
    """Return the terms as far as they are known without asking the server.

    ``wanted`` are scopes that it demanded before. Raises StoreUnavailable.
    """
    pin = None if server.issuer is not None else pins.load_pin(server)
    issuer = server.issuer if pin is None else pin.issuer
    return ServerTerms(server, issuer, () if server.scopes is not None else wanted)


def current_terms(discovered: Discovered, requested: RequestedScopes) -> ServerTerms:
    """Return the terms as the server states them now."""
    return ServerTerms(discovered.server, discovered.issuer, requested.to_name)
