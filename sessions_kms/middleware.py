"""Responds with 503 if the session store is unavailable, and keeps the visitor's cookie.

Put it first in MIDDLEWARE: it removes cookies that imitate the site's own
(`sessions_kms.session.cookies`) before any other code reads them.

Django turns an error of an inner middleware into a 500 before an outer one can catch it, so errors
are found in two ways: those of views by `process_exception`; those of other middlewares (for
example of a save after the response) are marked on the request when Django reports them, and the
500 is replaced.
"""

import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import got_request_exception, setting_changed
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from sessions_kms import outages
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.session import next_cookie
from sessions_kms.session.cookies import CookieRules, drop_foreign, rules_for_site

RETRY_AFTER = 5  # seconds
MOVED_RETRY_AFTER = 2  # seconds within which the response with the new cookie has arrived
MARK = "_session_store_unavailable"
TEMPLATE = "503.html"
MESSAGES = "messages"  # Django's name for the cookie, which no setting changes
TEXT = _("The service is temporarily unavailable. Please try again in a few seconds.")


class StoreUnavailableMiddleware(SyncAndAsyncMiddleware):
    """Respond with 503 and Retry-After, wherever in the request `StoreUnavailable` was raised.

    Drops cookies with names that imitate those of the session, CSRF and messages cookies or the
    prefixes `__Host-` and `__Secure-`, and cookies with such a prefix that are sent twice.

    The time budget of a request's waits for the store begins here (`deadline.REQUEST`).
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        with suppress(Exception):  # An invalid template is reported when it is used.
            _load_page()

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on; replace the 500 of an outage, and set the cookie of a new key."""
        drop_foreign(request, _rules())
        with deadline.request(), next_cookie.keys_of(request) as keys:
            return keys.set_cookies(_replaced(request, await self.await_response(request)))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, StoreUnavailable):
            return None
        response = unavailable_for(request, type(exception))
        outages.note(exception)
        outages.log_refusal(request, str(exception), response)
        return response


def unavailable(
    error: type[StoreUnavailable] = StoreUnavailable,
    *,
    is_repeatable: bool = False,
    request_id: str = "",
) -> HttpResponse:
    """Return the 503, from the project's `503.html` if that can be loaded.

    The template gets no request, by which a context processor could ask the store again. It gets
    `request_id`, `is_repeatable`, which is True if a browser may repeat the request, and
    `reload_after`: the seconds until the page should reload itself, None if it must not. After a
    key change the header `Refresh` does that: by then the browser has the new cookie.
    """
    headers = retry_headers(error)
    is_reloaded = is_repeatable and "Refresh" not in headers
    context = {
        "request_id": request_id,
        "is_repeatable": is_repeatable,
        "reload_after": RETRY_AFTER if is_reloaded else None,
    }
    try:
        content: str = loader.render_to_string(TEMPLATE, context)
        kind = "text/html; charset=utf-8"
    except (TemplateDoesNotExist, OSError):
        content, kind = str(TEXT), "text/plain; charset=utf-8"
    return HttpResponse(content, content_type=kind, status=503, headers=headers)


# Loads the template into Django's cache at the start: later there may be no free file descriptor.
_load_page = cache(unavailable)


def unavailable_for(
    request: HttpRequest, error: type[StoreUnavailable] = StoreUnavailable
) -> HttpResponse:
    """Return the 503 to a request. Only GET and HEAD may be repeated, without a code."""
    return unavailable(
        error,
        # An authorization code is valid for one request (RFC 6749 section 4.1.2).
        is_repeatable=request.method in {"GET", "HEAD"} and "code" not in request.GET,
        request_id=getattr(request, "request_id", ""),
    )


def retry_headers(error: type[StoreUnavailable]) -> dict[str, str]:
    """Return the headers of a 503 that say when to try again."""
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    if issubclass(error, SessionMoved):
        headers["Retry-After"] = headers["Refresh"] = str(MOVED_RETRY_AFTER)
    return headers


@cache
def _rules() -> CookieRules:
    return rules_for_site(settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, MESSAGES)


def _forget(**_: Any) -> None:
    _rules.cache_clear()


def _replaced(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    error = getattr(request, MARK, None)
    if response.status_code != 500 or error is None:
        if response.status_code < 500:
            outages.note_served(request)
        return response
    # The 500 is not closed: it has no open resources, and closing a response sends Django's
    # `request_finished`, while outer middlewares are still handling the request.
    with _in_language_of(request):
        replacement = unavailable_for(request, error)
    outages.log_refusal(request, error.message, replacement)
    return replacement


def _in_language_of(request: HttpRequest) -> AbstractContextManager[None]:
    """Return a block in the language that `LocaleMiddleware` chose, if the project has it."""
    language: str | None = getattr(request, "LANGUAGE_CODE", None)
    return nullcontext() if language is None else translation.override(language)


def _mark(*, request: HttpRequest | None = None, **_: Any) -> None:
    error = sys.exc_info()[1]
    if request is not None and isinstance(error, StoreUnavailable):
        setattr(request, MARK, type(error))  # An instance would keep its frames alive.
        outages.note(error)


setting_changed.connect(_forget, dispatch_uid="sessions_kms.middleware")
got_request_exception.connect(_mark, dispatch_uid="sessions_kms.middleware")
