"""What the gateway registers with: an MCP server, its issuer, and whom tokens belong to."""

from typing import Any

from oauth.mcp.discovery import Discovered
from oauth.mcp.servers import McpServer
from oauth.network.vetted_addresses import PUBLIC
from oauth.provider.metadata import Metadata

CALLBACK = "https://gateway.example/accounts/connect/wiki/callback/"
RESOURCE = "https://wiki.example/mcp"
MANAGEMENT_TOKEN = "management-token-that-nobody-may-keep"

WIKI = McpServer(name="wiki", url=RESOURCE, label="Wiki")


def discovered_at(issuer: str, **changes: Any) -> Discovered:
    """Return what discovery would find at an issuer on this machine."""
    metadata: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "auth_methods": ("none", "client_secret_basic"),
        "scopes": changes.pop("listed", ()),
        "reach": PUBLIC.with_network_of("127.0.0.1"),
    }
    return Discovered(
        server=changes.pop("server", WIKI),
        scopes=changes.pop("scopes", ()),
        issuer=issuer,
        resource=RESOURCE,
        metadata=Metadata(**(metadata | changes)),
    )


class Binding:
    def __init__(self, client_id: str, issuer: str, resource: str) -> None:
        self.client_id = client_id
        self.issuer = issuer
        self.resource = resource
