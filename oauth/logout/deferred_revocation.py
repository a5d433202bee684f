"""Revokes the token sets that a request removed, once the session was saved without them.

Receives Django's and allauth's signals and calls `oauth.tokens.revocation` at the end of the
request: a session must end before its grants are revoked, and before it is read whether the user
has other access. When a person signs in again, allauth
signs them out first; the grants of accounts that stay connected are then kept, since some providers
revoke the new grant together with the old one.

The response waits until the connections to MCP servers are revoked, together at most
CONNECTIONS_WAIT seconds: nobody else knows of these tokens. What is not revoked by then is logged
and counted, and the revocation continues in the background.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, cast

from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.signals import pre_social_login
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from oauth.logout import session_links
from oauth.mcp.servers import find_server
from oauth.metrics import count_revocation
from oauth.network.concurrency import FutureResult
from oauth.provider.revocation import Outcome
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from oauth.tokens.remaining_access import RemainingAccess
from oauth.tokens.revocation import revoke_soon
from oauth.tokens.vault import TokenRepository
from sessions_kms import SessionStore, id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

PENDING_ATTRIBUTE = "_oauth_leaving"
CONNECTIONS_WAIT = 3.0  # seconds


@dataclass(frozen=True)
class StartedRevocation:
    """The revocation of a connection to an MCP server."""

    server: str
    future: Future[Outcome] = field(repr=False)


@dataclass(frozen=True)
class _Removed:
    """A token set that a request removed, and whose it was.

    ``ended_key`` is the key of the session that must end first. With ``is_gone`` no stored session
    has it, even if the request fails; with ``is_disconnected`` the user disconnected the account.
    """

    provider: str
    token_set: TokenSet = field(repr=False)
    user_id: str | None
    ended_key: str | None = field(default=None, repr=False)
    is_gone: bool = False
    is_disconnected: bool = False


@dataclass
class _PendingRevocations:
    """``kept_accounts`` are pairs of provider and subject whose grants stay.

    ``ended_key`` is the key of the session that a sign-out ends.
    """

    removed: list[_Removed] = field(default_factory=list, repr=False)
    kept_accounts: set[tuple[str, str]] = field(default_factory=set, repr=False)
    ended_key: str | None = field(default=None, repr=False)


def remove_tokens(
    services: Services,
    request: HttpRequest,
    provider: str,
    subject: str | None = None,
    *,
    is_disconnected: bool = False,
) -> bool:
    """Remove a token set from the stored session now, and revoke it at the end of this request.

    With a ``subject``, only that account's. Exactly what is removed is revoked, also if another
    request has just stored it. Returns False if there was none. Raises StoreUnavailable.
    """
    __traceback_hide__ = True
    session = cast("SessionStore", request.session)  # `oauth.checks` requires this engine
    removed = run_sync(TokenRepository(services, session, provider).remove(subject))
    if removed is None:
        return False
    session_links.unlink_session(session, provider)
    user_id = session.get(SESSION_KEY)
    _pending_of(request).removed.append(
        _Removed(provider, removed, user_id, is_gone=True, is_disconnected=is_disconnected)
    )
    return True


def revoke_later(request: HttpRequest, provider: str, token_set: TokenSet) -> None:
    """Revoke a replaced token set at the end of this request, unless its account stays connected.

    The request's session goes on without it.
    """
    __traceback_hide__ = True
    removed = _Removed(provider, token_set, request.session.get(SESSION_KEY))
    _pending_of(request).removed.append(removed)


def revoke_unused(
    request: HttpRequest, provider: str, token_set: TokenSet, user_id: str | None
) -> None:
    """Revoke at the end of this request a user's token set that no session ever held."""
    removed = _Removed(provider, token_set, user_id, is_gone=True)
    _pending_of(request).removed.append(removed)


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
    pending = _pending_of(request)
    pending.ended_key = session.session_key
    _note_token_sets(pending, session)


def _note_token_sets(
    pending: _PendingRevocations, content: SessionBase | Mapping[str, Any]
) -> None:
    """Note the token sets in the content of the session that a sign-out ends."""
    __traceback_hide__ = True
    user_id, noted = content.get(SESSION_KEY), {each.token_set for each in pending.removed}
    for provider in vault.stored_providers(content):
        held = vault.load_token_set(content, provider)
        if held is not None and held not in noted:
            pending.removed.append(_Removed(provider, held, user_id, pending.ended_key))


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
    # Others may have stored some after the sign-out loaded the session, before it ended that.
    _note_token_sets(pending, getattr(request.session, "ended_content", None) or {})
    failed = response.status_code >= 500  # Django did not save the session, or could not.
    shared = _SharedAccess(services, request.session)
    for each in pending.removed:
        account = each.provider, each.token_set.subject
        is_kept = not each.is_gone and account in pending.kept_accounts
        if each.ended_key is None:
            is_removed = not failed or each.is_gone
        else:
            is_removed = request.session.session_key != each.ended_key
            is_kept = is_kept and not failed  # The session that would keep it was not saved.
        if is_kept:
            continue
        if is_removed:
            future = revoke_soon(
                services,
                each.provider,
                each.token_set,
                shared.remaining_beside(each),
                is_disconnected=each.is_disconnected,
            )
            if find_server(each.provider) is not None:
                started.append(StartedRevocation(each.provider, future))
        elif failed:
            logger.warning("A grant of %s was not revoked: the request failed.", each.provider)
    return started


class _SharedAccess:
    """The users' remaining access, which is read once for all token sets of a request.

    The request's session goes on, perhaps as a new one.
    """

    def __init__(self, services: Services, session: SessionBase) -> None:
        self._services = services
        self._session = session
        self._known: dict[tuple[str | None, frozenset[str]], RemainingAccess] = {}

    def remaining_beside(self, removed: _Removed) -> RemainingAccess:
        """Return the access of the user who had a token set."""
        __traceback_hide__ = True
        keys = {removed.ended_key, self._session.session_key}
        ending = frozenset(id_of(key) for key in keys if key is not None)
        known = (removed.user_id, ending)
        if known not in self._known:
            self._known[known] = RemainingAccess(
                self._services, removed.user_id, ending, current=self._session
            )
        return self._known[known]


async def wait_for_connections(started: Sequence[StartedRevocation]) -> None:
    """Wait until connections are revoked, at most CONNECTIONS_WAIT seconds for all together."""
    ends_at = time.monotonic() + CONNECTIONS_WAIT
    for each in started:
        outcome = await _outcome_of(each.future, max(0.0, ends_at - time.monotonic()))
        if outcome is Outcome.LATE:
            count_revocation(each.server, outcome)
        if outcome not in {Outcome.REVOKED, Outcome.ENDED, Outcome.KEPT}:
            logger.warning("A connection to %s is not revoked yet: %s.", each.server, outcome)


async def _outcome_of(future: Future[Outcome], seconds: float) -> Outcome:
    try:
        outcome: Outcome = await FutureResult(future, seconds)
    except CancelledError:  # The queue is full.
        return Outcome.FAILED
    except TimeoutError:
        return Outcome.LATE
    return outcome
