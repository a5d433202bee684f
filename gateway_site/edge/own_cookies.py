"""Drops cookies by stricter rules than other sites can have: the gateway names all of its own.

A cookie whose name no standard allows is somebody else's, whatever it is for. The session's
counts for nothing where it comes twice, in a local run too, whose names have no prefix.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.http.cookie import parse_cookie

from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.cookies import foreign
from sessions_kms.cookies.names import Rules, site_rules

Headers = list[tuple[bytes, bytes]]
SIFTED = "gateway.own_cookies"  # in an ASGI scope whose cookies are those that count
COOKIE = b"cookie"  # whatever case a server hands on


class OwnCookiesMiddleware(SyncAndAsyncMiddleware):
    """Outermost, so that nothing reads a cookie before."""

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on with what counts of its cookies."""
        rules = _rules()
        if SIFTED in getattr(request, "scope", {}):
            foreign.mark(request, rules)
        foreign.drop(request, rules)
        return self.get_response(request)  # or what is awaited for it


def counting(headers: Headers) -> Headers:
    """Return the headers of a request with those cookies only that count, in one header."""
    __traceback_hide__ = True
    came = [pair for pair in headers if pair[0].lower() == COOKIE]
    if not came:
        return headers
    counts = (COOKIE, foreign.counting(foreign.header_in(came), _rules()))
    if came == [counts]:
        return headers
    return [*(pair for pair in headers if pair[0].lower() != COOKIE), counts]


def believed(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the cookies of a sifted scope, before there is a request for Django."""
    __traceback_hide__ = True
    header = b"".join([value for name, value in scope["headers"] if name == COOKIE])
    return parse_cookie(header.decode("latin-1"))


@cache
def _rules() -> Rules:
    return site_rules(
        settings.SESSION_COOKIE_NAME,
        settings.CSRF_COOKIE_NAME,
        settings.MESSAGE_COOKIE_NAME,
        settings.OAUTH_LOGOUT_COOKIE_NAME,
        settings.SIGNED_OUT_COOKIE_NAME,
        strict=True,
    )


def _forget(**_: Any) -> None:
    _rules.cache_clear()


setting_changed.connect(_forget, dispatch_uid="gateway_site.own_cookies")
