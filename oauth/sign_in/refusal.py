"""What somebody sees who may not sign in, and what becomes of a session that they still have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from oauth.exceptions import SignInRefused
from oauth.logout.released import let_go
from oauth.sign_in import accounts, rights
from oauth.sign_in.prompts import FIELD, VALUE
from oauth.tokens import vault

logger = logging.getLogger(__name__)

SHOWN = 6  # characters of a subject in the log


def page(
    request: HttpRequest, provider: Provider, refused: SignInRefused, state: Mapping[str, Any]
) -> HttpResponse:
    """Return the page of a refusal, and take what the account had here.

    ``state`` is allauth's, of the sign-in: another account goes on to where this one would have.
    """
    # Not the address, which is somebody's: an operator asks `manage.py explain_sign_in`.
    logger.warning(
        "A sign-in with %s was refused (%s): the account whose subject begins with %a.",
        provider.sub_id,
        refused.reason.value,
        refused.subject[:SHOWN],
    )
    _take(request, provider.sub_id, refused.subject)
    context = {
        "provider": provider,
        "code": refused.reason.value,
        "contact": getattr(settings, "SIGN_IN_CONTACT", ""),
        "sign_in_url": provider.get_login_url(request),
        "fields": {FIELD: VALUE} | _way_on(request, state),
    }
    return render(request, "oauth/sign_in_refused.html", context, status=HTTPStatus.FORBIDDEN)


def _way_on(request: HttpRequest, state: Mapping[str, Any]) -> dict[str, str]:
    connects = state.get("process") == AuthProcess.CONNECT and request.user.is_authenticated
    fields = {"next": state.get("next"), "process": AuthProcess.CONNECT if connects else None}
    return {name: str(value) for name, value in fields.items() if value}


def _take(request: HttpRequest, provider: str, subject: str) -> None:
    """End this session where it was begun with the account, or the connection to it.

    The groups of an account that may not sign in give no rights here either.
    """
    account = accounts.find(provider, subject)
    if account is None:
        return
    rights.settle(account, ())
    held = vault.load(request.session, provider)
    if request.user.pk != account.user_id or held is None or held.subject != subject:
        return
    if vault.is_signed_in_with(request.session, provider, subject):
        logout(request)
    else:
        vault.drop(request.session, provider)
        let_go(request, provider, held)
