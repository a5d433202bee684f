"""`get_token` and `aget_token`: the functions that applications call to get a token.

They take a request and the name of a provider, and return a valid token set. An expired one is
refreshed and saved in the session immediately: if the view fails later and responds with a 5xx,
Django does not save the session. Both functions call `oauth.tokens.fresh_token`.
"""

from typing import cast

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.asyncio import async_unsafe

from oauth.mcp.servers import McpServer, find_server
from oauth.provider import config
from oauth.provider.config import ProviderConfig
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from oauth.tokens.asserted_account import KEY, AssertedAccount, parse_account, require_account
from oauth.tokens.asserted_token import AssertedToken, is_paused
from oauth.tokens.fresh_token import FreshToken
from sessions_kms import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services


@async_unsafe("The token may have to be refreshed: use oauth.aget_token in an async view.")
def get_token(request: HttpRequest, provider: str, rejected: TokenSet | None = None) -> TokenSet:
    """Return a token set of the signed-in person that stays valid for longer than the leeway.

    ``rejected`` is a token set to which an upstream responded with 401. It is refreshed although
    it has not expired, unless another request has already refreshed it. A token set younger than
    30 seconds is returned unchanged: the upstream must have another reason to reject it.

    If a refresh fails or another request is refreshing, a token that has not expired yet is
    returned. Raises NotConnected, ReauthenticationRequired, ProviderUnavailable, SessionFull and
    `sessions_kms.exceptions.StoreUnavailable`. Raises NoLongerAllowed if the session was ended
    because the person is no longer allowed to sign in.
    """
    return run_sync(_fresh_token(request, provider, rejected))


async def aget_token(
    request: HttpRequest, provider: str, rejected: TokenSet | None = None
) -> TokenSet:
    """Do the same as `get_token` without blocking the event loop.

    A refresh that has started is finished even if the caller is cancelled.
    """
    return await _fresh_token(request, provider, rejected)


async def aget_account(request: HttpRequest, provider: str) -> TokenSet | AssertedAccount:
    """Do the same as `aget_token` for a program that does not send the access token.

    If there is no refresh token, the access token may have expired. A grant that came with an
    assertion has an account instead, and no token.
    """
    session = cast("SessionStore", request.session)
    asserted = parse_account(await session.aget(KEY))
    if asserted is not None:
        return await require_account(services(), asserted, provider)
    return await FreshToken(services(), session, provider, needs_access=False).get()


def needs_consent(request: HttpRequest, provider: str) -> bool:
    """Return True if the configured scope has a value that was neither requested nor granted.

    A value that was requested but not granted is no reason to ask again: many providers rename
    scope values in their responses, or leave them out.
    """
    token_set = vault.load_token_set(request.session, provider)
    configured = config.find_provider(provider)
    if token_set is None or configured is None:
        return False
    return not set(configured.scope) <= {*token_set.requested_scope, *token_set.scope}


def groups_of(session: SessionBase, provider: str, held: TokenSet | None = None) -> tuple[str, ...]:
    """Return the person's groups for the upstreams of a provider.

    They are those at the provider, in the token set ``held`` or that of the session. An MCP server
    has none: those at the provider with which the person signed in count, which a client's grant
    copied when it was allowed. In a grant for a server with ``id_jag`` they are that provider's.
    """
    held = held or vault.load_token_set(session, provider)
    groups = () if held is None else held.groups
    if groups or (server := find_server(provider)) is None:
        return groups
    if server.id_jag is not None and vault.METHODS not in session:  # a client's grant
        account = vault.load_token_set(session, server.id_jag)
        return () if account is None else account.groups
    return vault.groups_of_sign_in(session)


def find_assertion_issuer(session: SessionBase, server: str) -> ProviderConfig | None:
    """Return the provider that vouches for the person at an MCP server, so that calls just work.

    None if no provider does, if the person connected the server, or if the last attempt failed.
    Raises StoreUnavailable.
    """
    found = find_server(server)
    provider = _assertion_issuer_of(found)
    if found is None or provider is None:
        return None
    held = vault.load_token_set(session, server)
    is_connected = held is not None and held.asserted_by is None
    if is_connected or is_paused(session, found, services().clock()):
        return None
    account = vault.load_token_set(session, provider.name)
    return None if unless_ended(provider.name, account) is None else provider


def unless_ended(provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless an operator ended its grant. Raises StoreUnavailable."""
    return vault.unless_ended(services(), provider, held)


async def aunless_ended(provider: str, held: TokenSet | None) -> TokenSet | None:
    """Do the same as `unless_ended` without blocking the event loop."""
    is_over = held is None or await vault.is_ended(services(), provider, held)
    return None if is_over else held


async def _fresh_token(request: HttpRequest, provider: str, rejected: TokenSet | None) -> TokenSet:
    __traceback_hide__ = True
    session = cast("SessionStore", request.session)  # `oauth.checks` requires this engine
    server = find_server(provider)
    issuer = _assertion_issuer_of(server)
    if server is None or issuer is None:
        return await FreshToken(services(), session, provider, rejected).get()
    return await AssertedToken(services(), session, server, issuer, rejected).get()


def _assertion_issuer_of(server: McpServer | None) -> ProviderConfig | None:
    if server is None or server.id_jag is None:
        return None
    return config.find_provider(server.id_jag)
