"""An MCP server's authorization server as a `ProviderConfig`, bound to one token set.

Tokens belong to the issuer, the client and the resource with which they were obtained, and these
are sealed with them. So a provider is made of them, and never of what discovery finds later.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from oauth.mcp import client_key
from oauth.mcp.registration import Registration
from oauth.mcp.servers import McpServer, find_server
from oauth.mcp.stored_registrations import find_registration
from oauth.provider.config import MCP_KIND, PRIVATE_KEY, ProviderConfig
from sessions_kms.services import services


class Binding(Protocol):
    """What tokens belong to: a token set, or a connection that is being made."""

    @property
    def client_id(self) -> str: ...
    @property
    def issuer(self) -> str | None: ...
    @property
    def resource(self) -> str | None: ...


def provider_of(server: McpServer, binding: Binding) -> ProviderConfig:
    """Return the provider that tokens belong to, without its credentials and without I/O."""
    return ProviderConfig(
        name=server.name,
        kind=MCP_KIND,
        label=server.label,
        client_id=binding.client_id,
        client_secret="",
        issuer=binding.issuer,
        resource=binding.resource,
        allow_private=server.allow_private,
        allow_http=server.allow_http,
        ca_file=server.ca_file,
        revocation=server.revocation,
    )


def with_credentials(provider: ProviderConfig, binding: Binding) -> ProviderConfig:
    """Return the provider with what its client authenticates with; reads the table and calls KMS.

    A client without a stored registration counts as public: whether it still exists is up to the
    server, which answers `invalid_client` if not; then connecting again helps. Raises
    StoreUnavailable.
    """
    __traceback_hide__ = True
    server = find_server(provider.name)
    if server is None or binding.issuer is None:
        return provider
    registration = find_registration(server, binding.issuer, binding.client_id)
    return provider if registration is None else _authenticating(provider, registration)


def provider_of_registration(
    server: McpServer, registration: Registration, resource: str
) -> ProviderConfig:
    """Return the provider of a registration, with credentials. Raises StoreUnavailable."""
    __traceback_hide__ = True
    binding = Client(registration.client_id, registration.issuer, resource)
    return _authenticating(provider_of(server, binding), registration)


@dataclass(frozen=True)
class Client:
    """A client at an issuer; its id is empty where nobody has registered yet."""

    client_id: str
    issuer: str
    resource: str


def _authenticating(provider: ProviderConfig, registration: Registration) -> ProviderConfig:
    __traceback_hide__ = True
    provider = replace(
        provider,
        client_secret=registration.client_secret,
        auth_method=registration.auth_method,
    )
    if registration.auth_method != PRIVATE_KEY:
        return provider
    key = client_key.load_key(services(), provider.name)
    if key is None:  # It was deleted, or sealed under a data key that leaked.
        return provider
    return replace(provider, private_key=key.pem, private_key_id=key.key_id)
