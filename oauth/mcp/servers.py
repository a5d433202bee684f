"""The connected MCP servers: reads the setting `OAUTH_MCP_SERVERS` once.

The setting has a dict for each name, with the members of `McpServer`; all but ``url`` may be left
out. A server is an upstream and a provider of the same name, but nobody signs in with it. Its token
set is in the session like that of every provider. Uses neither the database nor the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from oauth.provider.config import find_provider, read_revocation

SETTING = "OAUTH_MCP_SERVERS"


@dataclass(frozen=True, kw_only=True)
class McpServer:
    """One connected MCP server.

    ``url`` is its declared address: a normalized origin and the path as it was declared. What the
    operator set replaces what discovery finds: ``client_id`` and ``client_secret``, ``scopes`` and
    the ``issuer`` of the authorization server; None if it is not set. With ``allow_private`` the
    authorization server may be at private addresses, with ``allow_http`` without TLS there. The
    authorities of ``ca_file`` replace the public ones. ``revocation`` is that of `ProviderConfig`.
    ``id_jag`` names the provider that vouches for people at the issuer, so that they need not
    connect the server (`oauth.tokens.asserted_token`).
    """

    name: str
    url: str
    label: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] | None = None
    issuer: str | None = None
    allow_private: bool = False
    allow_http: bool = False
    ca_file: str | None = None
    revocation: str | None = None
    id_jag: str | None = None

    @property
    def origin(self) -> str:
        """The scheme, host and port of its address, without a default port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def find_server(name: str) -> McpServer | None:
    """Return the server with this name; None if there is none."""
    return _servers_by_name().get(name)


def all_servers() -> list[McpServer]:
    """Return all connected MCP servers."""
    return list(_servers_by_name().values())


@cache
def _servers_by_name() -> dict[str, McpServer]:
    configured: Mapping[str, Mapping[str, Any]] = getattr(settings, SETTING, {})
    return {name: _read_server(name, members) for name, members in configured.items()}


def _read_server(name: str, members: Mapping[str, Any]) -> McpServer:
    scopes = members.get("scopes")
    if members.get("client_secret") and not members.get("issuer"):
        # Otherwise the MCP server would choose who gets the secret.
        raise ImproperlyConfigured(f"{SETTING}: {name} has a client_secret, so it needs an issuer.")
    if members.get("id_jag") and not members.get("issuer"):
        # Otherwise the MCP server would choose for whom the provider vouches for people.
        raise ImproperlyConfigured(f"{SETTING}: {name} has an id_jag, so it needs an issuer.")
    if named := members.get("id_jag"):
        provider = find_provider(named)
        if provider is None or provider.issuer is None:
            raise ImproperlyConfigured(
                f"{SETTING}: the id_jag of {name} is no provider with OpenID Connect."
            )
    return McpServer(
        name=name,
        **{
            "label": name.replace("_", " ").title(),
            **members,
            "scopes": None if scopes is None else tuple(scopes),
            "revocation": read_revocation(members.get("revocation")),
        },
    )


def _clear_cache(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        _servers_by_name.cache_clear()


setting_changed.connect(_clear_cache, dispatch_uid="oauth.mcp.servers")
