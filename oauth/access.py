"""`get_token`: the one call for applications, and its async twin.

A request and a provider's name enter, a token set that is good for a while leaves,
refreshed if need be and then saved in the session at once: a view that fails
afterwards answers 5xx, and Django saves no session then. The work of both is written
once, in `oauth.tokens.fresh_token`; this module finds what it needs for this process.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.asyncio import async_unsafe

from oauth.exceptions import NotConnected
from oauth.provider import config
from oauth.provider.token_set import TokenSet
from oauth.tokens import repository, vault
from oauth.tokens.fresh_token import FreshToken
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services


@async_unsafe("The token may have to be refreshed: use oauth.aget_token in an async view.")
def get_token(request: HttpRequest, provider: str, rejected: TokenSet | None = None) -> TokenSet:
    """Return a token set of the signed-in person, good for longer than the leeway.

    ``rejected`` is one that an upstream answered 401 to: it is refreshed though it has
    not expired, unless another request did so already or it is younger than half a
    minute; then the upstream has another reason, and the same set comes back.

    While a refresh fails or another request is at it, a token that has not expired
    yet is returned. Raises NotConnected, ReauthenticationRequired,
    ProviderUnavailable, and `sessions_kms.exceptions.StoreUnavailable`. NoLongerAllowed is
    raised when the session has been ended, since its person may not sign in any more.
    """
    return run_sync(_fresh_token(request, provider, rejected))


async def aget_token(
    request: HttpRequest, provider: str, rejected: TokenSet | None = None
) -> TokenSet:
    """Do what `get_token` does, without blocking the event loop.

    A refresh that has begun is finished even if the caller is cancelled.
    """
    return await _fresh_token(request, provider, rejected)


def needs_consent(request: HttpRequest, provider: str) -> bool:
    """Tell whether more scope is configured than the person was asked for, or granted.

    What was asked for and not granted is no reason to ask again: many providers name
    a scope otherwise than it was asked for, or leave it out.
    """
    held = vault.load_token_set(request.session, provider)
    configured = config.find_provider(provider)
    if held is None or configured is None:
        return False
    return not set(configured.scope) <= {*held.requested_scope, *held.scope}


def unless_ended(provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless an operator ended its grant. Raises StoreUnavailable."""
    return repository.unless_ended(services(), provider, held)


async def aunless_ended(provider: str, held: TokenSet | None) -> TokenSet | None:
    """Do what `unless_ended` does, without blocking the event loop."""
    is_over = held is None or await repository.is_ended(services(), provider, held)
    return None if is_over else held


async def _fresh_token(request: HttpRequest, provider: str, rejected: TokenSet | None) -> TokenSet:
    __traceback_hide__ = True
    configured = config.find_provider(provider)
    if configured is None:
        raise NotConnected("There is no such provider.")
    return await FreshToken(services(), request.session, configured, rejected).get()
