"""Exchanges the code of a connection for its token set (RFC 6749 section 4.1.3, RFC 8707)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oauth.codes import Code
from oauth.connect.state import PendingConnection
from oauth.exceptions import ProviderRefused
from oauth.mcp import provider as mcp_provider
from oauth.mcp.servers import McpServer
from oauth.provider import metadata, token_endpoint
from oauth.provider.id_token import decode_stored_claims
from oauth.provider.token_set import TokenSet
from oauth.sign_in import plain_text
from oauth.sign_in.oauth2_adapter import exchanges, reject_unreadable
from sessions_kms.services import services

ACCOUNT_MAX = 100  # characters
# Members of a token response or an id token that name an account for people. The first two are
# OpenID Connect's (Core section 5.1).
ACCOUNT_NAMES = ("email", "preferred_username", "name", "workspace_name")
BEARER = "bearer"


def exchange_code(server: McpServer, pending: PendingConnection, code: str) -> TokenSet:
    """Return the token set for a code, of any size. It goes to the state's token endpoint only.

    Raises ProviderUnavailable, ProviderRefused, ReauthenticationRequired and StoreUnavailable.
    """
    __traceback_hide__ = True
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": pending.callback,
        "code_verifier": pending.verifier,
    }
    provider = mcp_provider.provider_of(server, pending)
    provider = mcp_provider.with_credentials(provider, pending)
    # Only what it says about addresses and keys is used.
    found = metadata.load_metadata(provider, anonymous=False)
    found = replace(found, token_endpoint=pending.token_endpoint)
    with exchanges.slot(server.name), reject_unreadable():
        clock = services().clock
        response = token_endpoint.request_tokens(provider, found, form, clock=clock)
        return _read_tokens(response.parse_tokens(), pending, int(clock()))


def _read_tokens(response: Mapping[str, Any], pending: PendingConnection, now: int) -> TokenSet:
    """Raises MalformedTokens and ProviderRefused."""
    __traceback_hide__ = True
    token_set = TokenSet.from_response(
        response,
        subject=pending.user,
        client_id=pending.client_id,
        requested_scope=pending.scopes,
        now=now,
        source=pending.server,
    )
    if token_set.token_type.lower() != BEARER:
        raise ProviderRefused("The server issues tokens of another type.", Code.TOKEN_OTHER)
    return replace(
        token_set,
        id_token=None,  # Nothing that it says is relied on.
        issuer=pending.issuer,
        resource=pending.resource,
        account=find_account_name(response, token_set.id_token),
    )


def find_account_name(response: Mapping[str, Any], id_token: str | None) -> str | None:
    """Return the name that the server gives for the account, for display; None without one.

    Nobody verified it: no signature is checked.
    """
    __traceback_hide__ = True
    sources = (decode_stored_claims(id_token), response)
    stated = [source.get(name) for source in sources for name in ACCOUNT_NAMES]
    return next(filter(None, map(_clean_name, stated)), None)


def _clean_name(value: object) -> str | None:
    """Return short plain text, which cannot reorder the text around it; None for anything else."""
    if not isinstance(value, str):
        return None
    return plain_text.to_one_line(value)[:ACCOUNT_MAX].strip() or None
