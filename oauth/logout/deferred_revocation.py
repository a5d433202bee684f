"""Revokes the token sets that a request removed, once the session is known to be saved without
them.

Receives Django's and allauth's signals and calls `oauth.provider.revocation` at the end of the
request: the session must be gone before its grants are. allauth signs a person out who signs in
again; the grants of accounts that stay connected are kept then, since some providers end the new
grant with the old one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, cast

from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.signals import pre_social_login
from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from oauth.provider.revocation import revoke_soon
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

PENDING_ATTRIBUTE = "_oauth_leaving"


@dataclass
class _PendingRevocations:
    """What a request let go. Each token set with the session key that it must outlive."""

    token_sets: list[tuple[str, TokenSet, str | None]] = field(default_factory=list, repr=False)
    going_on: set[tuple[str, str]] = field(default_factory=set, repr=False)


def revoke_later(request: HttpRequest, provider: str, token_set: TokenSet) -> None:
    """Revoke a token set at the end of this request, unless its account goes on."""
    _pending_of(request).token_sets.append((provider, token_set, None))


def keep_grant(request: HttpRequest, provider: str, subject: str) -> None:
    """Leave the grant of an account alone, whatever this request lets go."""
    _pending_of(request).going_on.add((provider, subject))


@receiver(pre_social_login, dispatch_uid="oauth.note_sign_in")
def note_sign_in(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    """Note whose account this request signs in with."""
    if sociallogin.state.get("process") != AuthProcess.REDIRECT:
        keep_grant(request, sociallogin.account.provider, sociallogin.account.uid)


@receiver(user_logged_out, dispatch_uid="oauth.note_sign_out")
def note_sign_out(request: HttpRequest | None, **kwargs: Any) -> None:
    """Note what the session holds, which is about to end."""
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
    """Tell whether there is anything to settle."""
    return hasattr(request, PENDING_ATTRIBUTE)


def revoke_pending(services: Services, request: HttpRequest, response: HttpResponseBase) -> None:
    """Revoke what is gone: of a session that ended, or of one that was saved without it.

    Where that cannot be told, the session may still hold it, and it is only logged.
    """
    __traceback_hide__ = True
    leaving: _PendingRevocations | None = getattr(request, PENDING_ATTRIBUTE, None)
    if leaving is None:
        return
    delattr(request, PENDING_ATTRIBUTE)
    failed = response.status_code >= 500  # Django did not save the session, or could not.
    for provider, token_set, session_key in leaving.token_sets:
        goes_on = (provider, token_set.subject) in leaving.going_on
        if session_key is None:
            gone = not failed
        else:
            gone = request.session.session_key != session_key
            goes_on = goes_on and not failed  # In what was to follow, which nobody has.
        if goes_on:
            continue
        if gone:
            revoke_soon(services, provider, token_set)
        elif failed:
            logger.warning("A grant of %s was not revoked: what let it go failed.", provider)
