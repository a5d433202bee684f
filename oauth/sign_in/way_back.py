"""Where a sign-in leads that did not end as it should: to its own page, or to another try.

A callback signs somebody in only where this browser holds its state, and no longer than allauth
keeps it. One that does not is no error page: its person went back, reloaded, followed an old link,
or was at the provider for too long.
"""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url

from oauth.codes import Code
from oauth.request_id import request_id

logger = logging.getLogger(__name__)

# In the address of the sign-in page: its person is not led on without being asked.
AGAIN = "again"
ATTRIBUTE = "_oauth_way_back"


def stray(request: HttpRequest, provider: str) -> HttpResponse | None:
    """Return where a callback leads that can sign nobody in; None for one that may.

    Somebody signed in goes where this sign-in was to lead, or home; others may try again.
    """
    state, is_late = _held(request, provider)
    next_url = _safe((state or {}).get("next"))
    if (state is not None and not is_late) or _may_be_hidden(request):
        setattr(request, ATTRIBUTE, next_url)
        return None
    logger.info(
        "Sign-in with %s did not work (%s), request %s: the callback has %s state.",
        provider,
        Code.STATE_UNKNOWN,
        request_id(request),
        "an old" if is_late else "no known",
    )
    if not request.user.is_authenticated:
        messages.warning(
            request,
            f"That sign-in expired or was started in another browser ({Code.STATE_UNKNOWN})."
            " Please try again.",
        )
        return HttpResponseRedirect(sign_in_address(next_url, again=True))
    if (state or {}).get("process") == AuthProcess.CONNECT:
        messages.warning(request, "That took too long, so nothing was connected. Please try again.")
    return HttpResponseRedirect(next_url or resolve_url(settings.LOGIN_REDIRECT_URL))


def sign_in_address(next_url: str | None, *, again: bool = False) -> str:
    """Return the sign-in page's address, by which its person comes to another one afterwards."""
    query = ({AGAIN: "1"} if again else {}) | ({REDIRECT_FIELD_NAME: next_url} if next_url else {})
    address = resolve_url(settings.LOGIN_URL)
    return f"{address}?{urlencode(query)}" if query else address


def wanted(request: HttpRequest) -> str | None:
    """Return where a sign-in was to lead: its state says so, or the request that begins it."""
    found: str | None = getattr(request, ATTRIBUTE, None) or get_next_redirect_url(request)
    return found


def _held(request: HttpRequest, provider: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the state that a callback names, if this session holds it, and whether it is old."""
    __traceback_hide__ = True
    name = request.GET.get("state", "")
    found = statekit.get_states(request).get(name)
    if found is None or found[-1] != provider:
        return None, False
    state, began, _ = found
    return state, time.time() - began > statekit.STATE_TTL


def _may_be_hidden(request: HttpRequest) -> bool:
    """Tell whether the session's cookie may be there and not be sent: allauth asks once more."""
    strict = str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict"
    return strict and "_redir" not in request.GET


def _safe(url: str | None) -> str | None:
    return url if url and get_account_adapter().is_safe_url(url) else None
