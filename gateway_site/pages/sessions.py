"""Where a person is signed in (`session_list`), and the ends of it.

A session is named by the digest that its record is stored under, and ended only if
its record names the user who asks.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.decorators import login_required
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from gateway_site.forwarding.ahead.page import Asked, reads_ahead, taken
from gateway_site.pages.ending import end_all_entries, end_entry
from gateway_site.pages.session_list import AFTER, Page, SessionList
from sessions_kms import StoreUnavailable, id_of, user_id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Count, Inspection
from sessions_kms.services import services

logger = logging.getLogger(__name__)

UNKNOWN = "The sessions cannot be reached right now, so it is not known whether any was ended. \
Please try again in a moment."


def count_of(request: HttpRequest) -> Count | None:
    """Count the sessions of the signed-in person; None if the store cannot be asked."""
    inspection = Inspection(services())
    try:
        return taken(
            request, "count", lambda: run_sync(inspection.count_user_sessions(_user_id(request)))
        )
    except StoreUnavailable as exc:
        _log(exc)
        return None


async def count_ahead(asked: Asked) -> Count:
    """Count the sessions of whoever asks, before their page does. Raises StoreUnavailable."""
    return await Inspection(services()).count_user_sessions(user_id_of(asked.user))


async def page_ahead(asked: Asked) -> Page:
    """Read the page that is asked for, before it is. Raises BadSignature or StoreUnavailable."""
    listing = SessionList(user_id_of(asked.user), asked.session_key)
    return await listing.page(asked.query().get(AFTER))


@reads_ahead(page=page_ahead)
@require_safe
@never_cache
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Show a page of the sessions of whoever is signed in; those of apps have their own."""
    try:
        page = taken(request, "page", partial(_page, request))
    except BadSignature:
        messages.warning(request, "That link is not valid any more. These are the newest.")
        return redirect("sessions")
    except StoreUnavailable as exc:
        # The page itself was reached with a session that could be read.
        _log(exc)
        page = None
    has_apps = settings.AUTHORIZATION_SERVER is not None
    return render(request, "sessions.html", {"page": page, "has_apps": has_apps})


def _page(request: HttpRequest) -> Page:
    """Read the page of the address. Raises BadSignature or StoreUnavailable."""
    listing = SessionList(_user_id(request), request.session.session_key)
    return run_sync(listing.page(request.GET.get(AFTER)))


@require_POST
@never_cache
@login_required
def end_one(request: HttpRequest) -> HttpResponse:
    """End the session of the form, if it is one of this user's; the present one by signing out."""
    session_id = request.POST.get("session", "")
    if session_id == _current_id(request):
        return redirect("account_logout")
    return end_entry(
        request,
        "sessions",
        lambda: ending.end_session(services(), session_id, user_id=request.user.pk),
        ended="The session has been ended.",
        missing="There is no such session: it may have ended already.",
        unknown=UNKNOWN,
    )


@require_POST
@never_cache
@login_required
def end_others(request: HttpRequest) -> HttpResponse:
    """End every session of this user but the present one, apps' too, and tell how many."""
    current = request.session.session_key
    return end_all_entries(
        request,
        "sessions",
        lambda: ending.end_sessions_of(services(), request.user.pk, but=current),
        ended=_counted,
        unknown=UNKNOWN,
    )


def _user_id(request: HttpRequest) -> str:
    return user_id_of(cast("AbstractBaseUser", request.user))


def _log(error: StoreUnavailable) -> None:
    logger.warning("The sessions of a user cannot be listed: %s", error)


def _current_id(request: HttpRequest) -> str:
    return id_of(request.session.session_key or "")


def _counted(ended: int) -> str:
    if ended == 0:
        return "There was no other session to end."
    return (
        "One other session has been ended."
        if ended == 1
        else f"{ended} other sessions have been ended."
    )
