"""Drops all cookies but those that the gateway reads: it names all of its own.

Whatever sibling sites set is skipped before anything decodes it, and so is a cookie of ours of
more than 4 KB. The session's counts for nothing where it comes twice, in a local run too, whose
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
SIFTED = "gateway.own_cookies"  # in an ASGI scope: the cookies that count, decoded
COOKIE = b"cookie"  # whatever case a server hands on

# Settings that name the cookies which this site reads, beside the session's. allauth reads none
# with the providers and apps that are installed here.
READ = (
    "CSRF_COOKIE_NAME",
    "MESSAGE_COOKIE_NAME",
    "OAUTH_LOGOUT_COOKIE_NAME",
    "SIGNED_OUT_COOKIE_NAME",
)


class OwnCookiesMiddleware(SyncAndAsyncMiddleware):
    """Outermost, so that nothing reads a cookie before."""

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on with what counts of its cookies."""
        __traceback_hide__ = True
        rules = _rules()
        if (cookies := getattr(request, "scope", {}).get(SIFTED)) is not None:
            request.COOKIES = dict(cookies)  # a copy: `keys_of` deletes some of them
            mark_filtered(request, rules)
        drop_foreign(request, rules)
        return self.get_response(request)  # or what is awaited for it


def counting(headers: Headers) -> Headers:
    """Return the headers of a request with those cookies only that count, in one header."""
    __traceback_hide__ = True
    came = [pair for pair in headers if pair[0].lower() == COOKIE]
    if not came:
        return headers
    counts = (COOKIE, filter_header(join_cookie_headers(came), _rules()))
    if came == [counts]:
        return headers
    return [*(pair for pair in headers if pair[0].lower() != COOKIE), counts]


def decode(headers: Headers) -> dict[str, str]:
    """Return the cookies of headers in which only those are left that count."""
    __traceback_hide__ = True
    header = b"".join([value for name, value in headers if name == COOKIE])
    return decode_header(header.decode("latin-1"))


def believed(scope: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the cookies of a sifted scope, before there is a request for Django."""
    cookies: Mapping[str, str] = scope[SIFTED]
    return cookies


@cache
def _rules() -> CookieRules:
    others = [getattr(settings, name) for name in READ]
    return rules_for_site(settings.SESSION_COOKIE_NAME, *others, strict=True)


def _forget(**_: Any) -> None:
    _rules.cache_clear()


setting_changed.connect(_forget, dispatch_uid="gateway_site.own_cookies")
