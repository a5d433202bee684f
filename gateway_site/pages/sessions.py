"""The list of a person's sessions, page by page, and ending them.

A session is identified by the id of its record, a digest, and is ended only if its record belongs
to the signed-in user.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding.thread_pools import personal
from gateway_site.pages.entry_list import EntryList, user_id
from gateway_site.pages.session_label import SignInLabel
from sessions_kms import StoreUnavailable, about, id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.operations.listing import (
    Count,
    Inspection,
    Listing,
    Row,
    read_page_token,
    sign_page_token,
)
from sessions_kms.services import services

AFTER = "after"  # the query parameter with a page token


@dataclass(frozen=True)
class ListedSession:
    """One session, and how the person signed in to it."""

    row: Row
    sign_in: SignInLabel


@dataclass(frozen=True)
class SessionPage:
    """One page of a person's sessions, and the URL of the next page.

    The current session comes first, then the newest.
    """

    rows: Sequence[ListedSession]
    older_url: str
    is_first: bool

    @property
    def has_others(self) -> bool:
        """Whether there may be another session to end."""
        one_page = self.is_first and not self.older_url
        return not one_page or any(not entry.row.current for entry in self.rows)


class SessionList:
    """A user's sessions; `current` is the session key of this request."""

    def __init__(self, user_id: str, current: str | None) -> None:
        __traceback_hide__ = True
        self._user_id = user_id
        self._inspection = Inspection(services(), current)
        self._name = f"sessions of {user_id}"

    async def page(self, token: str | None) -> SessionPage:
        """Return the page of a token. Raises BadSignature or StoreUnavailable."""
        start = None if token is None else read_page_token(services(), token, listing=self._name)
        found = await self._inspection.list_user_sessions(self._user_id, start)
        rows = [row for row in found.rows if not row.current]
        if start is None and (current := await self._find_current(found.rows)) is not None:
            rows.insert(0, current)
        return SessionPage(
            await self._list_entries(rows),
            older_url=self._older_url(found),
            is_first=start is None,
        )

    async def _find_current(self, found: Sequence[Row]) -> Row | None:
        """Return the current session, even if the index lags or has it on a later page."""
        there = next((row for row in found if row.current), None)
        return there or await self._inspection.find_current()

    async def _list_entries(self, rows: Sequence[Row]) -> list[ListedSession]:
        entries = []
        for row in rows:
            words = await self._inspection.about(row.id)
            if not about.are_of_grant(words):
                entries.append(ListedSession(row, SignInLabel.from_metadata(words)))
        return entries

    def _older_url(self, found: Listing) -> str:
        if found.next is None:
            return ""
        token = sign_page_token(services(), found.next, listing=self._name)
        return "?" + urlencode({AFTER: token})


logger = logging.getLogger(__name__)

SESSIONS = EntryList(
    page="sessions",
    ended=_("The session has been ended."),
    missing=_("There is no such session. It may have ended already."),
    ended_none=_("There was no other session to end."),
    ended_number=lambda number: (
        ngettext(
            "One other session has been ended.",
            "%(number)d other sessions have been ended.",
            number,
        )
        % {"number": number}
    ),
    unknown=_(
        "The sessions cannot be reached right now, so it is unknown whether any was ended. "
        "Please try again in a moment."
    ),
)


def count_sessions(request: HttpRequest) -> Count | None:
    """Count the signed-in person's sessions; None if the store is unavailable."""
    try:
        return run_sync(Inspection(services()).count_user_sessions(user_id(request)))
    except StoreUnavailable as exc:
        _log(exc)
        return None


@personal
@require_safe
@never_cache
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Show a page of the signed-in person's sessions; apps have a separate page."""
    listing = SessionList(user_id(request), request.session.session_key)
    try:
        page = run_sync(listing.page(request.GET.get(AFTER)))
    except BadSignature:
        text = _("That link is no longer valid. These are your newest sessions.")
        messages.warning(request, text)
        return redirect("sessions")
    except StoreUnavailable as exc:
        # Show the page without the list: the session of this request could be read.
        _log(exc)
        page = None
    context = {
        "list": "sessions",
        "row": "session_entry.html",
        "entries": None if page is None else page.rows,
        "page": page,
        "has_others": page is not None and page.has_others,
        "has_apps": settings.AUTHORIZATION_SERVER is not None,
    }
    return render(request, "sessions.html", context)


@SESSIONS.posted
def end_one(request: HttpRequest) -> HttpResponse:
    """End the session of the form, if it is this user's; the current one by signing out."""
    session_id = request.POST.get("session", "")
    if session_id == id_of(request.session.session_key or ""):
        return redirect("account_logout")
    return SESSIONS.end_one(
        request,
        lambda: ending.end_session(services(), session_id, user_id=request.user.pk),
    )


@SESSIONS.posted
def end_others(request: HttpRequest) -> HttpResponse:
    """End every session of this user except the current one, including those of apps.

    Apps end first: of thousands of sessions, the newest end within the time of one request. To find
    apps, KMS has to respond; sessions also end without it.
    """

    def end() -> int:
        apps = _end_apps(user_id(request)) if settings.AUTHORIZATION_SERVER is not None else 0
        current = request.session.session_key
        return apps + ending.end_sessions_of(services(), request.user.pk, but=current)

    return SESSIONS.end_all(request, end)


def _end_apps(person: str) -> int:
    """End all grants that can be found; return the number of apps."""
    from oauth.clients import live_grants  # noqa: PLC0415 - nothing of it is loaded without clients

    try:
        return len(live_grants.end_all_grants(services(), person))
    except StoreUnavailable as exc:
        logger.warning("Apps could not be found, so they end with all other sessions: %s", exc)
        return 0


def _log(error: StoreUnavailable) -> None:
    logger.warning("Could not list a user's sessions: %s", error)
