"""Decides whether token sets without a session are revoked, and revokes them in the background.

The setting `revocation` of a provider or MCP server decides: `last` revokes unless the user has
other access that may hold its tokens (`oauth.tokens.remaining_access`), `always` and `never` do not
look. A session has ended before this is read. So of several that end at the same time, the last one
sees no other.

A connection to an MCP server is revoked in threads of that server, so that it delays no other. Its
client's secret or key is stored, so it is loaded there too.
"""

import logging
from concurrent.futures import Future
from functools import partial

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from oauth.exceptions import OAuthError
from oauth.mcp.servers import find_server
from oauth.metrics import count_revocation
from oauth.network import concurrency
from oauth.provider.config import LAST, MCP_KIND, NEVER, ProviderConfig
from oauth.provider.revocation import Outcome, Revocation
from oauth.provider.token_set import TokenSet
from oauth.tokens import providers, vault
from oauth.tokens.remaining_access import RemainingAccess
from sessions_kms import SessionTooLarge, StoreUnavailable
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

UNREADABLE = "the user's other sessions cannot be read."


def revoke_soon(
    services: Services,
    name: str,
    token_set: TokenSet,
    remaining: RemainingAccess,
    *,
    is_disconnected: bool = False,
) -> Future[Outcome]:
    """Revoke a token set in the background, if the setting says so; log and count the outcome.

    With ``is_disconnected`` the user disconnected the account, so other access does not matter. The
    future never raises; it is cancelled if the queue is full.
    """

    def run() -> Outcome:
        __traceback_hide__ = True
        outcome = _run(services, name, token_set, None if is_disconnected else remaining)
        count_revocation(name, outcome)
        return outcome

    account = f"{name}/{token_set.subject}"
    if find_server(name) is not None:
        future = concurrency.run_for_server(name, run, account)
    else:
        future = concurrency.run_in_background(run, account)
    if future.cancelled():
        count_revocation(name, Outcome.FAILED)
    return future


def save_or_revoke(
    services: Services,
    session: SessionBase,
    name: str,
    token_set: TokenSet,
    replaced: TokenSet | None,
) -> bool:
    """Save a session with a new token set, which is revoked if the stored session does not hold it.

    Returns False if the user disconnected the account or server meanwhile: the disconnect could not
    revoke the new token set. Neither could a sign-out: raises SessionInterrupted if the session has
    ended. Raises SessionTooLarge if it has no room: then the ``replaced`` token set stays stored,
    and a new one of the same account could end it.
    """
    __traceback_hide__ = True
    remaining = RemainingAccess.beside(services, session, goes_on=True)
    try:
        session.save()
    except UpdateError:
        revoke_soon(services, name, token_set, remaining)
        raise SessionInterrupted("The session has ended.") from None
    except SessionTooLarge:
        if not token_set.may_end_with(replaced):
            revoke_soon(services, name, token_set, remaining)
        raise
    if vault.load_token_set(session, name) is not None:
        return True
    is_account = find_server(name) is None  # Disconnecting a server follows the setting.
    revoke_soon(services, name, token_set, remaining, is_disconnected=is_account)
    return False


def _run(
    services: Services, name: str, token_set: TokenSet, remaining: RemainingAccess | None
) -> Outcome:
    """Revoke a token set if the setting says so, and log the outcome. Never raises.

    ``remaining`` is None if other access does not matter.
    """
    __traceback_hide__ = True
    try:
        provider = _provider_of(name, token_set)
        if provider.when_revoked == NEVER:
            return _log_kept(name, Outcome.KEPT, "the settings say so.")
        provider = providers.with_credentials(provider, token_set)
    except (OAuthError, StoreUnavailable) as exc:
        return _log_kept(name, Outcome.FAILED, str(exc))
    except Exception as exc:  # noqa: BLE001 - nobody could handle it, and its text may have a token
        return _log_kept(name, Outcome.FAILED, type(exc).__name__)
    keeps = remaining if provider.when_revoked == LAST else None
    return Revocation(
        provider,
        services,
        partial(_find_reason_to_keep, name, token_set, keeps),
        every_token=provider.kind == MCP_KIND,
    ).run(token_set)


def _provider_of(name: str, token_set: TokenSet) -> ProviderConfig:
    """Return the provider that a token set belongs to. Raises OAuthError if there is none."""
    provider = providers.provider_of(name, token_set)
    if provider.client_id != token_set.client_id:
        raise OAuthError("Its client is not configured.")
    return provider


def _find_reason_to_keep(
    name: str, token_set: TokenSet, remaining: RemainingAccess | None
) -> Outcome | None:
    """Return the outcome if other access may use the tokens, or if that cannot be read."""
    __traceback_hide__ = True
    if remaining is None:
        return None
    try:
        is_used = remaining.includes(name, token_set)
    except StoreUnavailable as exc:
        return _log_kept(name, Outcome.UNDECIDED, f"{UNREADABLE} {exc}")
    return _log_kept(name, Outcome.KEPT, "the user has other access.") if is_used else None


def _log_kept(name: str, outcome: Outcome, reason: str) -> Outcome:
    level = logging.INFO if outcome is Outcome.KEPT else logging.WARNING
    logger.log(level, "A grant of %s was not revoked: %s", name, reason)
    return outcome
