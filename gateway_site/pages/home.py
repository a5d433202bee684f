"""The home page: a sign-in, or what is connected; and news of apps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from allauth.account.utils import user_display
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding.ahead.page import Asked, reads_ahead
from gateway_site.forwarding.passage import NeedsThread
from gateway_site.pages.connected import accounts_ahead, connections_of
from gateway_site.pages.sessions import count_ahead, count_of
from gateway_site.pages.sign_in import is_led_on
from sessions_kms import SessionStore
from sessions_kms.operations.listing import Count


async def sessions_ahead(asked: Asked) -> Count | None:
    """Count the person's sessions if apps may be among them. News of apps need a thread."""
    if settings.AUTHORIZATION_SERVER is None:
        return None
    from gateway_site.pages import app_news  # noqa: PLC0415 - not where no client is let in

    found = await count_ahead(asked)
    if app_news.are_due(asked.session, asked.session_key, found.newest):
        raise NeedsThread
    return found


@reads_ahead(accounts=accounts_ahead, count=sessions_ahead)
@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Offer a sign-in for each provider, or show the connections."""
    if not request.user.is_authenticated:
        return redirect("account_login") if is_led_on(request) else render(request, "home.html")
    connections = connections_of(request)
    if settings.AUTHORIZATION_SERVER is not None:
        _tell_of_apps(request)
    context = {
        "connect": AuthProcess.CONNECT,
        "display_name": user_display(request.user),
        "connections": connections,
        "can_call": any(connection.upstreams for connection in connections),
        # The last account is the only way to sign in: allauth would refuse to disconnect it.
        "removable": sum(len(connection.accounts) for connection in connections) > 1,
        "session_end": _session_end(request.session),
    }
    return render(request, "home.html", context)


def _tell_of_apps(request: HttpRequest) -> None:
    from gateway_site.pages import app_news  # noqa: PLC0415 - not where no client is let in

    if (sessions := count_of(request)) is not None:
        app_news.tell(request, sessions.newest)


def _session_end(session: SessionBase) -> datetime:
    """Return when this session ends at the latest; without such a limit, when it idles out."""
    absolute = cast("SessionStore", session).absolute_end()
    return (absolute or session.get_expiry_date()).astimezone(UTC)
