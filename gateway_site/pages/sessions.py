"""Where a person is signed in, and the ends of it: what the records say in the clear.

A session is named by the digest that its record is stored under, and ended only if
its record names the user who asks.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from sessions_kms import ending, record
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.inspection import time_of
from sessions_kms.services import services

logger = logging.getLogger(__name__)

UNKNOWN = "The sessions cannot be reached right now, so it is not known whether any was ended. \
Please try again in a moment."


@dataclass(frozen=True)
class Session:
    """One row of the list."""

    id: str
    short_id: str
    created_at: datetime
    updated_at: datetime
    ends_at: datetime
    current: bool


@dataclass(frozen=True)
class Listing:
    """A person's sessions, newest first, or that they cannot be listed."""

    available: bool
    rows: tuple[Session, ...] = ()

    @property
    def full(self) -> bool:
        """Whether there may be more than are listed."""
        return len(self.rows) >= ending.LISTED_MAX

    @property
    def has_current(self) -> bool:
        """Whether the present one is listed; the index may lag behind a new sign-in."""
        return any(row.current for row in self.rows)

    @property
    def has_others(self) -> bool:
        """Whether there is another one to end."""
        return any(not row.current for row in self.rows)


def listing_of(request: HttpRequest) -> Listing:
    """List the sessions of whoever is signed in."""
    try:
        found = ending.sessions_of(request.user.pk, current=request.session.session_key)
    except StoreUnavailable as exc:
        # The page itself was reached with a session that could be read, so the rest of it stands.
        logger.warning("The sessions of a user cannot be listed: %s", exc)
        return Listing(available=False)
    return Listing(available=True, rows=tuple(map(_row, found)))


@require_POST
@never_cache
@login_required
def end_one(request: HttpRequest) -> HttpResponse:
    """End the session of the form, if it is one of this user's; the present one by signing out."""
    session_id = request.POST.get("session", "")
    if session_id == _current_id(request):
        return redirect("account_logout")
    try:
        ended = ending.end_session(session_id, user_id=request.user.pk)
    except StoreUnavailable:
        messages.error(request, UNKNOWN)
        return redirect("home")
    if ended:
        messages.success(request, "The session has been ended.")
    else:
        messages.warning(request, "There is no such session: it may have ended already.")
    return redirect("home")


@require_POST
@never_cache
@login_required
def end_others(request: HttpRequest) -> HttpResponse:
    """End every session of this user but the present one, and tell how many."""
    try:
        ended = ending.end_sessions_of(request.user.pk, but=request.session.session_key)
    except StoreUnavailable:
        messages.error(request, UNKNOWN)
        return redirect("home")
    messages.success(request, _counted(ended))
    return redirect("home")


def _current_id(request: HttpRequest) -> str:
    return record.session_id(services().config.namespace, request.session.session_key or "")


def _counted(ended: int) -> str:
    if ended == 0:
        return "There was no other session to end."
    return (
        "One other session has been ended."
        if ended == 1
        else f"{ended} other sessions have been ended."
    )


def _row(found: ending.SessionInfo) -> Session:
    return Session(
        id=found.id,
        short_id=found.id[: record.SHORT_ID],
        created_at=time_of(found.created_at),
        updated_at=time_of(found.updated_at),
        ends_at=time_of(found.ends_at),
        current=found.current,
    )
