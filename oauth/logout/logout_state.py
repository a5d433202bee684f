"""The `state` of a sign-out at a provider: made here, known to the browser that was led there.

It is kept in a signed cookie, since the session has just ended, and a new one would be a record
of somebody who has left. Whoever comes back with it was led there by this browser's own sign-out,
and not by somebody's link.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

RETURN_WITHIN = 600  # seconds
SALT = "oauth.logout_state"


def new() -> str:
    """Return a state that nobody can guess."""
    return secrets.token_urlsafe(32)


def keep(response: HttpResponse, provider: str, state: str) -> None:
    """Have the browser remember which provider it is led to, and with which state."""
    response.set_cookie(
        cookie_name(),
        signing.dumps([provider, state], salt=SALT),
        max_age=RETURN_WITHIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",  # it comes along when the provider leads the browser back
    )


def provider_left(request: HttpRequest) -> str | None:
    """Return the provider that this request comes back from; None where the state is not ours."""
    try:
        provider, state = signing.loads(
            request.COOKIES.get(cookie_name(), ""), salt=SALT, max_age=RETURN_WITHIN
        )
    except (signing.BadSignature, TypeError, ValueError):
        return None
    return str(provider) if constant_time_compare(state, request.GET.get("state", "")) else None


def forget(response: HttpResponse) -> None:
    """Have the browser forget the state, which serves once."""
    response.delete_cookie(cookie_name(), samesite="Lax")


def cookie_name() -> str:
    """Return the cookie's name: OAUTH_LOGOUT_COOKIE_NAME, or else one that no sibling can set."""
    prefix = "__Host-" if settings.SESSION_COOKIE_SECURE else ""
    return getattr(settings, "OAUTH_LOGOUT_COOKIE_NAME", prefix + "oauth-logout")
