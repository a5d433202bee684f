"""The apps that a person allowed to call upstreams for them (`oauth.clients`), and the ends of it.

An app is named by the digest that its session is stored under, and ended only if that names the
user who asks. Loaded only where clients are let in.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from gateway_site.forwarding.ahead.page import Asked, reads_ahead, taken
from gateway_site.pages.ending import end_all_entries, end_entry
from oauth.clients import live_grants
from oauth.clients.live_grants import LiveGrant
from oauth.clients.rules.names import warning_about
from oauth.clients.server import authorization_server
from oauth.provider.config import provider
from sessions_kms import StoreUnavailable, about, user_id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services

logger = logging.getLogger(__name__)

UNKNOWN = "The apps cannot be reached right now, so it is not known whether any was ended. \
Please try again in a moment."


@dataclass(frozen=True)
class Shown:
    """One app, as the page shows it. ``is_listed``: the operator answers for what it is."""

    grant: LiveGrant
    provider: str
    is_listed: bool
    name_warning: str

    @classmethod
    def of(cls, grant: LiveGrant, listed: Collection[str]) -> Shown:
        """Return what is shown of a grant; ``listed`` are the ids of the operator's own clients."""
        told = grant.told
        configured = provider(told.provider)
        label = configured.label if configured else told.provider
        return cls(grant, label, told.client_id in listed, warning_about(told.client))


async def grants_ahead(asked: Asked) -> list[LiveGrant]:
    """Return the apps of whoever asks, before their page does. Raises StoreUnavailable."""
    return await live_grants.live_grants(services(), user_id_of(asked.user))


@reads_ahead(grants=grants_ahead)
@require_safe
@never_cache
@login_required
def apps(request: HttpRequest) -> HttpResponse:
    """Show the apps of whoever is signed in."""
    found: Sequence[Shown] | None
    try:
        grants = taken(
            request,
            "grants",
            lambda: run_sync(live_grants.live_grants(services(), _user_id(request))),
        )
        listed = set(map(about.short_client_id, authorization_server().listed))
        found = [Shown.of(each, listed) for each in grants]
    except StoreUnavailable as exc:
        # The page itself was reached with a session that could be read.
        logger.warning("The apps of a user cannot be listed: %s", exc)
        found = None
    return render(request, "apps.html", {"apps": found})


@require_POST
@never_cache
@login_required
def end_one(request: HttpRequest) -> HttpResponse:
    """End the app of the form, if it is one of this user's."""
    session_id = request.POST.get("app", "")
    return end_entry(
        request,
        "apps",
        lambda: live_grants.end(services(), session_id, user_id=_user_id(request)),
        ended="The app has been disconnected.",
        missing="There is no such app: it may have been disconnected already.",
        unknown=UNKNOWN,
    )


@require_POST
@never_cache
@login_required
def end_all(request: HttpRequest) -> HttpResponse:
    """End every app of this user, and tell how many."""
    return end_all_entries(
        request,
        "apps",
        lambda: live_grants.end_all(services(), _user_id(request)),
        ended=_counted,
        unknown=UNKNOWN,
    )


def _user_id(request: HttpRequest) -> str:
    return user_id_of(cast("AbstractBaseUser", request.user))


def _counted(ended: int) -> str:
    if ended == 0:
        return "There was no app to disconnect."
    return (
        "One app has been disconnected." if ended == 1 else f"{ended} apps have been disconnected."
    )
