"""Drops all cookies except those that the gateway reads.

Cookies of sibling sites are skipped before anything decodes them, and so is a cookie of ours of
more than 4 KB. A session cookie that occurs twice is ignored, also in a local run, whose cookie
names have no prefix.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest

from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.session.cookies import (
    CookieRules,
    decode_header,
    drop_foreign,
    filter_header,
    join_cookie_headers,
    mark_filtered,
    rules_for_site,
)

Headers = list[tuple[bytes, bytes]]
COOKIES = "gateway.own_cookies"  # in an ASGI scope: the cookies that count, decoded
COOKIE = b"cookie"  # whatever case a server hands on

# Settings that name the cookies which this site reads, beside the session's. allauth reads none
# with the providers and apps that are installed here.
COOKIE_SETTINGS = (
    "CSRF_COOKIE_NAME",
    "LANGUAGE_COOKIE_NAME",
    "MESSAGE_COOKIE_NAME",
    "OAUTH_LOGOUT_COOKIE_NAME",
    "SIGNED_OUT_COOKIE_NAME",
)


class OwnCookiesMiddleware(SyncAndAsyncMiddleware):
    """Outermost, so that nothing reads a cookie earlier."""

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on with our own cookies only."""
        __traceback_hide__ = True
        rules = _rules()
        if (cookies := getattr(request, "scope", {}).get(COOKIES)) is not None:
            request.COOKIES = dict(cookies)  # a copy: `keys_of` deletes some of them
            mark_filtered(request, rules)
        drop_foreign(request, rules)
        return self.get_response(request)  # or what is awaited for it


def keep_own_cookies(headers: Headers) -> Headers:
    """Return the headers of a request with our own cookies only, in one header."""
    __traceback_hide__ = True
    came = [pair for pair in headers if pair[0].lower() == COOKIE]
    if not came:
        return headers
    counts = (COOKIE, filter_header(join_cookie_headers(came), _rules()))
    if came == [counts]:
        return headers
    return [*(pair for pair in headers if pair[0].lower() != COOKIE), counts]


def decode_cookies(headers: Headers) -> dict[str, str]:
    """Return the cookies of headers that were filtered."""
    __traceback_hide__ = True
    header = b"".join([value for name, value in headers if name == COOKIE])
    return decode_header(header.decode("latin-1"))


def cookies_of(scope: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the cookies of a filtered scope, before Django has made a request."""
    cookies: Mapping[str, str] = scope[COOKIES]
    return cookies


@cache
def _rules() -> CookieRules:
    others = [getattr(settings, name) for name in COOKIE_SETTINGS]
    return rules_for_site(settings.SESSION_COOKIE_NAME, *others, strict=True)


def _forget(**_: Any) -> None:
    _rules.cache_clear()


setting_changed.connect(_forget, dispatch_uid="gateway_site.own_cookies")
