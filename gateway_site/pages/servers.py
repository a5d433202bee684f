"""The MCP servers that a person can connect, as the home page shows them; never a token."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.http import HttpRequest

from gateway_site.pages.connections import CallableUpstream, Status, status_of, upstream_url
from gateway_site.rules.upstream import Upstream
from oauth import find_assertion_issuer, groups_of, load_token_set
from oauth.mcp.servers import find_server


@dataclass(frozen=True)
class ServerConnection:
    """One MCP server; if it cannot be called, ``upstreams`` is empty.

    ``account`` is a name that the server gave, which nobody verified. ``through`` is the label of
    the provider that vouches for the person, who connects nothing.
    """

    name: str
    label: str
    status: Status
    upstreams: tuple[CallableUpstream, ...] = ()
    account: str | None = None
    scope: tuple[str, ...] = ()
    expires_at: datetime | None = None
    renewable: bool = False
    through: str | None = None

    @property
    def has_token(self) -> bool:
        """Whether this session has a token set, expired or not."""
        return self.status != Status.NONE and self.through is None

    @property
    def is_expired(self) -> bool:
        """Whether the access token has expired."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    @property
    def needs_connecting(self) -> bool:
        """Whether the person must connect it before any call."""
        return self.status in {Status.NONE, Status.REAUTHENTICATE}


def server_connections(request: HttpRequest) -> list[ServerConnection]:
    """Return a connection for each MCP server that the person's groups may call, by label."""
    upstreams = [each for each in settings.UPSTREAMS.values() if each.mcp]
    connections = [
        _connection(request, upstream)
        for upstream in upstreams
        if upstream.allows(groups_of(request.session, upstream.provider))
    ]
    return sorted(connections, key=lambda each: each.label)


def _connection(request: HttpRequest, upstream: Upstream) -> ServerConnection:
    server = find_server(upstream.provider)
    label = upstream.name if server is None else server.label
    held = load_token_set(request.session, upstream.provider)
    upstreams = (CallableUpstream(upstream.name, upstream_url(request, upstream)),)
    if (provider := find_assertion_issuer(request.session, upstream.provider)) is not None:
        return ServerConnection(
            upstream.provider, label, Status.HELD, upstreams, through=provider.label
        )
    if held is None:
        return ServerConnection(upstream.provider, label, Status.NONE)
    return ServerConnection(
        name=upstream.provider,
        label=label,
        status=status_of(upstream.provider, held),
        upstreams=upstreams,
        account=held.account,
        scope=held.scope,
        expires_at=None
        if held.expires_at is None
        else datetime.fromtimestamp(held.expires_at, UTC),
        renewable=held.refresh_token is not None,
    )
