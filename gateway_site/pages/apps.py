"""The apps that a person allowed to call upstreams (`oauth.clients`): list, disconnect, announce.

An app is identified by the id of its session, a digest, and is disconnected only if that session
belongs to the signed-in user. This module is imported only if clients are allowed.

After an app was allowed, every other browser session of the person shows a message on its next view
of the home page; new sessions do so for a week. So a person notices an app that was allowed in a
stolen session. Apps that have ended by then are not announced. This needs no extra query: the home
page counts sessions by an index that includes their start times, and only sessions that are new to
the browser's session are read.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding.thread_pools import personal
from gateway_site.pages.entry_list import EntryList, user_id
from oauth.clients import live_grants, wanted_scopes
from oauth.clients.consent import GrantLabels
from oauth.clients.id_jag.issuers import find_open_upstreams
from oauth.clients.live_grants import LiveGrant
from oauth.clients.rules.names import name_warning
from oauth.clients.server import authorization_server
from oauth.mcp.servers import find_server
from oauth.provider.config import find_provider
from sessions_kms import SHORT_ID, StoreUnavailable, about, id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations.listing import Row
from sessions_kms.services import services

logger = logging.getLogger(__name__)

ANNOUNCED = "_apps_seen"  # in the session: a time, and short ids of sessions that started later
WEEK = 7 * 24 * 3600  # seconds; apps that are older are not announced in a new browser session
LAG = 60  # seconds by which the index may be behind
READ_MAX = 10  # sessions for one view of the page, one read each

Session = SessionBase | Mapping[str, Any]  # or its content
Newest = Sequence[tuple[str, int]]  # ids and start times of a person's sessions


def announce_new_apps(request: HttpRequest, newest: Newest) -> None:
    """Add a message for each new app; `newest` are the person's sessions in the index."""
    now = int(services().clock())
    unknown = _new_sessions(request.session, request.session.session_key or "", newest, now)
    if not unknown:
        return
    new = unknown[:READ_MAX]
    try:
        found = list(_read_grants(new))
    except StoreUnavailable as exc:  # The next view announces them.
        logger.warning("Could not read a user's new sessions: %s", exc)
        return
    for grant in found:
        if grant.asserted_by:  # There is a new one every few minutes, and nobody allowed it here.
            continue
        messages.info(request, _announcement(grant))
    # Those beyond READ_MAX are left for the next view.
    after, known = _read_announced(request.session, now)
    settled = max(after, now - LAG) if new == unknown else after
    known |= {each[:SHORT_ID] for each in new}
    since = [each[:SHORT_ID] for each, began in newest if began > settled]
    request.session[ANNOUNCED] = [settled, [each for each in since if each in known]]


def _new_sessions(session: Session, session_key: str, newest: Newest, now: int) -> list[str]:
    __traceback_hide__ = True
    after, known = _read_announced(session, now)
    own = id_of(session_key)
    young = [each for each, began in newest if began > after and each != own]
    return [each for each in young if each[:SHORT_ID] not in known]


def _read_announced(session: Session, now: int) -> tuple[int, set[str]]:
    __traceback_hide__ = True
    seen = session.get(ANNOUNCED)
    return (now - WEEK, set()) if seen is None else (max(seen[0], now - WEEK), set(seen[1]))


def _read_grants(ids: Sequence[str]) -> Iterator[GrantLabels]:
    labels = about.SessionMetadata(services().of_any)
    for each in ids:
        if (grant := GrantLabels.from_labels(run_sync(labels.read(each)))) is not None:
            yield grant


def _announcement(grant: GrantLabels) -> str:
    text = gettext(
        "“<bdi>{client}</bdi>” was allowed to call {upstream} in your name. If that was not you, "
        'disconnect it under <a href="{address}">Connected apps</a>.'
    )
    return format_html(text, client=grant.client, upstream=grant.upstream, address=reverse("apps"))


APPS = EntryList(
    page="apps",
    ended=_("The app has been disconnected."),
    missing=_("There is no such app. It may have been disconnected already."),
    ended_none=_("There was no app to disconnect."),
    ended_number=lambda number: (
        ngettext(
            "One app has been disconnected.", "%(number)d apps have been disconnected.", number
        )
        % {"number": number}
    ),
    unknown=_(
        "The apps cannot be reached right now, so it is unknown whether any was disconnected. "
        "Please try again in a moment."
    ),
)


@dataclass(frozen=True)
class ListedApp:
    """One app in the list. `is_listed`: the operator listed the client in CLIENTS_FILE."""

    labels: GrantLabels
    row: Row
    provider: str
    is_listed: bool
    name_warning: str

    @classmethod
    def of(cls, grant: LiveGrant, listed: Collection[str]) -> "ListedApp":
        """Return the entry of a grant; `listed` are the ids of the operator's own clients."""
        labels = grant.labels
        provider = labels.asserted_by or labels.provider
        configured = find_provider(provider) or find_server(provider)
        label = configured.label if configured else provider
        return cls(
            labels, grant.row, label, labels.client_id in listed, name_warning(labels.client)
        )


def _list_grants(person: str) -> list[LiveGrant]:
    """Return a person's grants, first those by their organization. Raises StoreUnavailable."""
    grants: list[LiveGrant] = []
    if find_open_upstreams(authorization_server()):  # Otherwise no such grant can be used.
        grants = run_sync(live_grants.list_asserted_grants(services(), person))
    return grants + run_sync(live_grants.list_grants(services(), person))


@personal
@require_safe
@never_cache
@login_required
def apps(request: HttpRequest) -> HttpResponse:
    """Show the signed-in person's apps."""
    found: Sequence[ListedApp] | None
    try:
        grants = _list_grants(user_id(request))
        listed = set(map(about.short_client_id, authorization_server().listed))
        found = [ListedApp.of(each, listed) for each in grants]
    except StoreUnavailable as exc:
        # Show the page without the list: the session of this request could be read.
        logger.warning("Could not list a user's apps: %s", exc)
        found = None
    context = {"list": "apps", "row": "app_entry.html", "entries": found, "has_others": bool(found)}
    return render(request, "apps.html", context)


@APPS.posted
def end_one(request: HttpRequest) -> HttpResponse:
    """Disconnect the app of the form, if it is this user's."""
    session_id = request.POST.get("app", "")

    def end() -> bool:
        ended = live_grants.end_grant(services(), session_id, user_id=user_id(request))
        if ended is not None:
            wanted_scopes.remember(request.session, ended)
        return ended is not None

    return APPS.end_one(request, end)


@APPS.posted
def end_all(request: HttpRequest) -> HttpResponse:
    """Disconnect every app of this user."""

    def end() -> int:
        ended = live_grants.end_all_grants(services(), user_id(request))
        for each in ended:
            wanted_scopes.remember(request.session, each)
        return len(ended)

    return APPS.end_all(request, end)


urlpatterns = [
    path("apps/", apps, name="apps"),
    path("apps/end/", end_one, name="end_app"),
    path("apps/end-all/", end_all, name="end_apps"),
]
