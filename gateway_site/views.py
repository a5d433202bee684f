"""The home page: who is signed in, and what is held for them. Never a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from allauth.account.utils import user_display
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from oauth import session as tokens
from sessions_kms.backend import SessionStore


@dataclass(frozen=True)
class Holding:
    """What the page may say of one provider."""

    name: str
    sign_in_url: str
    held: bool = False
    renewable: bool = False
    scope: tuple[str, ...] = ()
    expires_at: datetime | None = None
    expired: bool = False


@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Offer a sign-in for each provider, or show what the session holds."""
    if not request.user.is_authenticated:
        return render(request, "home.html")
    providers = sorted(get_adapter().list_providers(request), key=lambda provider: provider.name)
    context = {
        "connect": AuthProcess.CONNECT,
        "display_name": user_display(request.user),
        "holdings": [_holding(request, provider) for provider in providers],
        "session_end": _session_end(request.session),
    }
    return render(request, "home.html", context)


def _holding(request: HttpRequest, provider: Provider) -> Holding:
    name, url = str(provider.name), provider.get_login_url(request)
    held = tokens.load(request.session, provider.sub_id)
    if held is None:
        return Holding(name, url)
    end = None if held.expires_at is None else datetime.fromtimestamp(held.expires_at, UTC)
    return Holding(
        name,
        url,
        held=True,
        renewable=held.refresh_token is not None,
        scope=held.scope,
        expires_at=end,
        expired=end is not None and end <= datetime.now(UTC),
    )


def _session_end(session: SessionBase) -> datetime:
    """Return when this session ends at the latest; without such a limit, when it idles out."""
    absolute = cast("SessionStore", session).absolute_end()
    return absolute or session.get_expiry_date()
