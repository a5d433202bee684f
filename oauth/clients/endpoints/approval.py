"""The provider's answer to a consent: the grant is made, and its code led to the client.

allauth's signal enters once it has taken the answer and knows whose account it is there; nobody is
signed in and nothing connected by it. The tokens of this exchange alone are sealed: what allauth
carries on may hold the browser session's refresh token.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, cast

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.signals import pre_social_login
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from oauth.clients.consent import Consent
from oauth.clients.endpoints import leading_back
from oauth.clients.endpoints.pending import Pending
from oauth.clients.grants import grants
from oauth.clients.rules import authorization_request
from oauth.clients.rules.refusal import Refused
from oauth.clients.server import authorization_server
from sessions_kms.concurrency.waits import run_sync

logger = logging.getLogger(__name__)


@receiver(pre_social_login, dispatch_uid="oauth.clients.approve")
def approve(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    """End allauth's flow here, where it was begun by a consent.

    Raises ImmediateHttpResponse, which is how allauth is told, and StoreUnavailable.
    """
    __traceback_hide__ = True
    pending = Pending.of(sociallogin.state)
    if pending is not None:
        raise ImmediateHttpResponse(_answer(request, sociallogin, pending))


def _answer(request: HttpRequest, sociallogin: SocialLogin, pending: Pending) -> HttpResponse:
    __traceback_hide__ = True
    provider = sociallogin.account.provider
    if not _is_own(request, sociallogin, pending):
        logger.info("A consent came back from %s with somebody else's account.", provider)
        why = (
            "You signed in there with an account that is not yours here. Sign in with the one "
            "that you have connected, or connect this one first."
        )
        return leading_back.refused(request, why, HTTPStatus.FORBIDDEN)
    server = authorization_server()
    asked = authorization_request.read(pending.query)
    client = pending.client(asked.client_id, asked.redirect_uri)
    try:
        wish = authorization_request.wish(asked, server.issuer, server.upstreams, pending.upstream)
    except Refused as refused:  # no longer offered
        return leading_back.error(request, server, client, asked, refused)
    consent = Consent(
        client_id=client.id,
        client_name=client.name,
        client_host=client.host,
        redirect_uri=asked.redirect_uri,
        upstream=wish.upstream,
        resource=wish.resource,
        scope=wish.scope,
        challenge=wish.challenge,
    )
    allowed = run_sync(
        grants().allow(
            cast("AbstractBaseUser", request.user),  # nobody else owns an account
            consent,
            provider,
            sociallogin.token_set,
            backend=request.session[BACKEND_SESSION_KEY],
        )
    )
    return leading_back.with_code(request, server.issuer, client, asked, allowed)


def _is_own(request: HttpRequest, sociallogin: SocialLogin, pending: Pending) -> bool:
    """Tell whether it is who allowed it, with an account that was theirs already."""
    user = request.user
    return (
        user.is_active
        and str(user.pk) == pending.user
        and sociallogin.account.pk is not None
        and sociallogin.account.user_id == user.pk
    )
