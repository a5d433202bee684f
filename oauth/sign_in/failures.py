"""Responses to a failed sign-in: a redirect for another attempt, or a page with the reason.

A callback signs somebody in only if this browser has its state, and only as long as allauth keeps
it. Otherwise the person went back, reloaded, followed an old link, or was at the provider for too
long. They get no error page but a redirect to the sign-in page, or to their original target.

For an account that the rule rejects, a page shows the reason, and its session, connection and
rights end. Errors show the request id, which also appears in the log.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.translation import gettext as _

from oauth.codes import Code
from oauth.exceptions import SignInRefused
from oauth.logout.deferred_revocation import remove_tokens
from oauth.metrics import count_sign_in
from oauth.sign_in import accounts, rights
from oauth.sign_in.prompts import ACCOUNT_FIELD, ANOTHER_ACCOUNT
from oauth.tokens import vault
from sessions_kms.services import services

logger = logging.getLogger(__name__)

REQUEST_ID_ATTRIBUTE = "request_id"

# A parameter of the sign-in page: it then does not redirect to the provider by itself.
SIGN_IN_AGAIN = "again"
NEXT_URL_ATTRIBUTE = "_oauth_way_back"

SUBJECT_PREFIX = 6  # characters of a subject in the log


def get_request_id(request: HttpRequest) -> str:
    """Return the id of a request; the first call creates it."""
    if not hasattr(request, REQUEST_ID_ATTRIBUTE):
        setattr(request, REQUEST_ID_ATTRIBUTE, secrets.token_hex(8))
    return str(getattr(request, REQUEST_ID_ATTRIBUTE))


def redirect_stray_callback(request: HttpRequest, provider: str) -> HttpResponse | None:
    """Return a redirect for a callback without a valid state; None if the state is valid.

    A signed-in person goes to the sign-in's target or the home page, others to the sign-in page.
    """
    state, is_late = _find_state(request, provider)
    next_url = safe_url((state or {}).get("next"))
    if (state is not None and not is_late) or _may_lack_cookie(request):
        setattr(request, NEXT_URL_ATTRIBUTE, next_url)
        return None
    count_sign_in(provider, Code.STATE_UNKNOWN)
    logger.info(
        "Sign-in with %s did not work (%s), request %s: the callback has %s state.",
        provider,
        Code.STATE_UNKNOWN,
        get_request_id(request),
        "an old" if is_late else "no known",
    )
    if not request.user.is_authenticated:
        text = _(
            "That sign-in expired or was started in another browser (%(code)s). Please try again."
        )
        messages.warning(request, text % {"code": Code.STATE_UNKNOWN})
        return HttpResponseRedirect(sign_in_url(next_url, again=True))
    if (state or {}).get("process") == AuthProcess.CONNECT:
        text = _("That took too long, so nothing was connected. Please try again.")
        messages.warning(request, text)
    return HttpResponseRedirect(next_url or resolve_url(settings.LOGIN_REDIRECT_URL))


def sign_in_url(next_url: str | None, *, again: bool = False) -> str:
    """Return the URL of the sign-in page, which redirects to ``next_url`` afterwards."""
    query = ({SIGN_IN_AGAIN: "1"} if again else {}) | (
        {REDIRECT_FIELD_NAME: next_url} if next_url else {}
    )
    address = resolve_url(settings.LOGIN_URL)
    return f"{address}?{urlencode(query)}" if query else address


def requested_next_url(request: HttpRequest) -> str | None:
    """Return the target of a sign-in, from its state or from the request that starts it."""
    found: str | None = getattr(request, NEXT_URL_ATTRIBUTE, None) or get_next_redirect_url(request)
    return found


def _find_state(request: HttpRequest, provider: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the callback's state, None if the session does not hold it; and if it is too old."""
    __traceback_hide__ = True
    name = request.GET.get("state", "")
    found = statekit.get_states(request).get(name)
    if found is None or found[-1] != provider:
        return None, False
    state, began, _ = found
    return state, time.time() - began > statekit.STATE_TTL


def _may_lack_cookie(request: HttpRequest) -> bool:
    """Return True if a `SameSite=Strict` cookie may be missing: allauth then redirects once."""
    strict = str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict"
    return strict and "_redir" not in request.GET


def safe_url(url: str | None) -> str | None:
    """Return an address to go to, if it is one of this site."""
    return url if url and get_account_adapter().is_safe_url(url) else None


def refusal_page(
    request: HttpRequest, provider: Provider, refused: SignInRefused, state: Mapping[str, Any]
) -> HttpResponse:
    """Return the page for a rejected account, and withdraw the account's access.

    ``state`` is the sign-in's state: a sign-in with another account keeps its target.
    """
    count_sign_in(provider.sub_id, refused.reason.value)
    # Without the e-mail address; operators use the command `explain_sign_in`.
    logger.warning(
        "A sign-in with %s was refused (%s): the account whose subject begins with %a.",
        provider.sub_id,
        refused.reason.value,
        refused.subject[:SUBJECT_PREFIX],
    )
    _withdraw_access(request, provider.sub_id, refused.subject)
    context = {
        "provider": provider,
        "code": refused.reason.value,
        "contact": getattr(settings, "SIGN_IN_CONTACT", ""),
        "sign_in_url": provider.get_login_url(request),
        "fields": {ACCOUNT_FIELD: ANOTHER_ACCOUNT} | _retry_fields(request, state),
    }
    return render(request, "oauth/sign_in_refused.html", context, status=HTTPStatus.FORBIDDEN)


def _retry_fields(request: HttpRequest, state: Mapping[str, Any]) -> dict[str, str]:
    connects = state.get("process") == AuthProcess.CONNECT and request.user.is_authenticated
    fields = {"next": state.get("next"), "process": AuthProcess.CONNECT if connects else None}
    return {name: str(value) for name, value in fields.items() if value}


def _withdraw_access(request: HttpRequest, provider: str, subject: str) -> None:
    """End this session if it was started with the account, or else disconnect the account.

    Rights that came from the account's groups are withdrawn as well.
    """
    account = accounts.find_account(provider, subject)
    if account is None:
        return
    rights.update_rights(account, ())
    held = vault.load_token_set(request.session, provider)
    if request.user.pk != account.user_id or held is None or held.subject != subject:
        return
    if vault.is_signed_in_with(request.session, provider, subject):
        logout(request)
    else:
        remove_tokens(services(), request, provider, subject)
