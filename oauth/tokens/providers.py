"""The provider that a token set belongs to: a configured one, or what an MCP server uses.

The token set of an MCP server decides by itself where its tokens go (`oauth.mcp.provider`),
whatever has been discovered since. Its client's secret or key is stored: `with_credentials` reads
it, so it is called only for a request to the authorization server, in a thread.
"""

from oauth.exceptions import NotConnected, ReauthenticationRequired
from oauth.mcp import provider as mcp_provider
from oauth.mcp.resource_metadata import covers
from oauth.mcp.servers import McpServer, find_server
from oauth.provider import config
from oauth.provider.config import MCP_KIND, ProviderConfig
from oauth.provider.token_set import TokenSet


def provider_of(name: str, token_set: TokenSet) -> ProviderConfig:
    """Return the provider of a token set of this name; makes no request.

    Raises NotConnected if there is no such provider, and ReauthenticationRequired if the token set
    does not belong to the MCP server of this name.
    """
    if (configured := config.find_provider(name)) is not None:
        return configured
    if (server := find_server(name)) is None:
        raise NotConnected("There is no such provider.")
    if not belongs_to(server, token_set):
        raise ReauthenticationRequired("The token set belongs to another server or issuer.")
    return mcp_provider.provider_of(server, token_set)


def belongs_to(server: McpServer, token_set: TokenSet) -> bool:
    """Return True if the token set was issued for this server, by an issuer that is allowed."""
    if token_set.issuer is None or token_set.resource is None:
        return False
    if token_set.asserted_by not in (None, server.id_jag):
        return False  # The operator has ended that trust.
    if server.issuer is not None and server.issuer != token_set.issuer:
        return False
    return covers(token_set.resource, server)


def with_credentials(provider: ProviderConfig, token_set: TokenSet) -> ProviderConfig:
    """Return the provider with what authenticates the client of the token set.

    Raises ProviderUnavailable and StoreUnavailable.
    """
    if provider.kind != MCP_KIND:
        return provider
    return mcp_provider.with_credentials(provider, token_set)


def is_self_registered(provider: ProviderConfig, token_set: TokenSet) -> bool:
    """Return True if the gateway registered the client of a token set at the server.

    If the server does not know that client any more, nobody can correct it: the person has to
    connect the server again, with a new registration. An operator can correct a client of theirs,
    and an address of a client's document only means that the server cannot fetch that at present.
    """
    server, client_id = find_server(provider.name), token_set.client_id
    is_ours = server is not None and server.client_id != client_id
    return provider.kind == MCP_KIND and is_ours and "://" not in client_id
