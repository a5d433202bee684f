"""Revokes the token sets that a request removed, once the session was saved without them.

Receives Django's and allauth's signals and calls `oauth.tokens.revocation` at the end of the
request: a session must end before its grants are revoked. When a person signs in again, allauth
signs them out first; the grants of accounts that stay connected are then kept, since some providers
revoke the new grant together with the old one.

The response waits until the connections to MCP servers are revoked, together at most
CONNECTIONS_WAIT seconds: nobody else knows of these tokens. What is not revoked by then is logged
and counted, and the revocation continues in the background.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, cast

from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.signals import pre_social_login
from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from oauth.mcp.servers import find_server
from oauth.metrics import count_revocation
from oauth.network.concurrency import FutureResult
from oauth.provider.revocation import Outcome
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from oauth.tokens.revocation import revoke_soon
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

PENDING_ATTRIBUTE = "_oauth_leaving"
CONNECTIONS_WAIT = 3.0  # seconds


@dataclass(frozen=True)
class StartedRevocation:
    """The revocation of a connection to an MCP server."""

    server: str
    future: Future[Outcome] = field(repr=False)


@dataclass
class _PendingRevocations:
    """The token sets that a request removed, each with the key of the session that must end first.

    ``kept_accounts`` are pairs of provider and subject whose grants stay.
    """

    token_sets: list[tuple[str, TokenSet, str | None]] = field(default_factory=list, repr=False)
    kept_accounts: set[tuple[str, str]] = field(default_factory=set, repr=False)


def revoke_later(request: HttpRequest, provider: str, token_set: TokenSet) -> None:
    """Revoke a token set at the end of this request, unless its account stays connected."""
    _pending_of(request).token_sets.append((provider, token_set, None))


def keep_grant(request: HttpRequest, provider: str, subject: str) -> None:
    """Do not revoke any grant of this account at the end of the request."""
    _pending_of(request).kept_accounts.add((provider, subject))


@receiver(pre_social_login, dispatch_uid="oauth.note_sign_in")
def note_sign_in(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    """Note the account that this request signs in with."""
    if sociallogin.state.get("process") != AuthProcess.REDIRECT:
        keep_grant(request, sociallogin.account.provider, sociallogin.account.uid)


@receiver(user_logged_out, dispatch_uid="oauth.note_sign_out")
def note_sign_out(request: HttpRequest | None, **kwargs: Any) -> None:
    """Note the token sets of the session, which is about to end."""
    session = getattr(request, "session", None)
    if request is None or session is None:
        return
    for provider in vault.stored_providers(session):
        if (held := vault.load_token_set(session, provider)) is not None:
            _pending_of(request).token_sets.append((provider, held, session.session_key))


def _pending_of(request: HttpRequest) -> _PendingRevocations:
    if not hasattr(request, PENDING_ATTRIBUTE):
        setattr(request, PENDING_ATTRIBUTE, _PendingRevocations())
    return cast("_PendingRevocations", getattr(request, PENDING_ATTRIBUTE))


def has_pending_revocations(request: HttpRequest) -> bool:
    """Return True if the request has token sets to revoke or to keep."""
    return hasattr(request, PENDING_ATTRIBUTE)


def revoke_pending(
    services: Services, request: HttpRequest, response: HttpResponseBase
) -> list[StartedRevocation]:
    """Begin to revoke the token sets whose session has ended, or was saved without them.

    Returns those of MCP servers. If the request failed, the session may still hold the token sets:
    this is only logged.
    """
    __traceback_hide__ = True
    pending: _PendingRevocations | None = getattr(request, PENDING_ATTRIBUTE, None)
    started: list[StartedRevocation] = []
    if pending is None:
        return started
    delattr(request, PENDING_ATTRIBUTE)
    failed = response.status_code >= 500  # Django did not save the session, or could not.
    for provider, token_set, session_key in pending.token_sets:
        is_kept = (provider, token_set.subject) in pending.kept_accounts
        if session_key is None:
            removed = not failed
        else:
            removed = request.session.session_key != session_key
            is_kept = is_kept and not failed  # The session that would keep it was not saved.
        if is_kept:
            continue
        if removed:
            future = revoke_soon(services, provider, token_set)
            if find_server(provider) is not None:
                started.append(StartedRevocation(provider, future))
        elif failed:
            logger.warning("A grant of %s was not revoked: the request failed.", provider)
    return started


async def wait_for_connections(started: Sequence[StartedRevocation]) -> None:
    """Wait until connections are revoked, at most CONNECTIONS_WAIT seconds for all together."""
    ends_at = time.monotonic() + CONNECTIONS_WAIT
    for each in started:
        outcome = await _outcome_of(each.future, max(0.0, ends_at - time.monotonic()))
        count_revocation(each.server, outcome)
        if outcome not in {Outcome.REVOKED, Outcome.ENDED}:
            logger.warning("A connection to %s is not revoked yet: %s.", each.server, outcome)


async def _outcome_of(future: Future[Outcome], seconds: float) -> Outcome:
    try:
        outcome: Outcome = await FutureResult(future, seconds)
    except CancelledError:  # The queue is full.
        return Outcome.FAILED
    except TimeoutError:
        return Outcome.LATE
    except Exception as exc:  # noqa: BLE001 - the session has ended: the sign-out succeeds
        logger.warning("A grant was not revoked: %s", type(exc).__name__)
        return Outcome.FAILED
    return outcome
