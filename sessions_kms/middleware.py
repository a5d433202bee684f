"""An unreachable session store answers 503, soon, and keeps the visitor's cookie.

Put it first in MIDDLEWARE: what comes after it sees no cookie that only passes for one of the
site's own (`sessions_kms.session.cookies`).

Django turns an error of an inner middleware into a 500 before an outer one can see it, so there
are two ways in: errors of views come by `process_exception`; those of other middlewares (a save
after the response, say) are marked on the request when Django reports them, and their 500 is
replaced.
"""

import sys
from contextlib import suppress
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import got_request_exception, setting_changed
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader

from sessions_kms import outages
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.session import next_cookie
from sessions_kms.session.cookies import CookieRules, drop_foreign, rules_for_site

RETRY_AFTER = 5  # seconds
MOVED_RETRY_AFTER = 2  # seconds in which the answer with the new cookie is there
MARK = "_session_store_unavailable"
TEMPLATE = "503.html"
MESSAGES = "messages"  # Django's name of the cookie; it has no setting for it
TEXT = "The service is temporarily unavailable. Please try again in a few seconds."


class StoreUnavailableMiddleware(SyncAndAsyncMiddleware):
    """Answer 503 with Retry-After wherever in the request `StoreUnavailable` was raised.

    Drops cookies whose names only pass for the session's, CSRF's or messages', or begin so with
    `__Host-` or `__Secure-`; and a name with such a prefix that comes twice.

    It is where a request's waits for the store begin to be summed up (`deadline.REQUEST`).
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        # Django's loader keeps the template from now on: a process may run out of descriptors.
        with suppress(Exception):  # A template that is wrong is told of when it is needed.
            unavailable()

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Have the request answered; tell what was out of reach, and set a new key's cookie."""
        drop_foreign(request, _rules())
        with deadline.request(), next_cookie.keys_of(request) as keys:
            return keys.set_cookies(_replaced(request, await self.get_answer(request)))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, StoreUnavailable):
            return None
        response = unavailable(type(exception))
        outages.note(exception)
        outages.log_refusal(request, str(exception), response)
        return response


def unavailable(error: type[StoreUnavailable] = StoreUnavailable) -> HttpResponse:
    """Return the 503, from the project's `503.html` if it has one that can be read.

    A page that met a key change loads itself anew: the browser has the new cookie by then.
    """
    try:
        # Without the request, so that no context processor asks for the session again.
        content: str = loader.render_to_string(TEMPLATE)
        kind = "text/html; charset=utf-8"
    except (TemplateDoesNotExist, OSError):
        content, kind = TEXT, "text/plain; charset=utf-8"
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    if issubclass(error, SessionMoved):
        headers["Retry-After"] = headers["Refresh"] = str(MOVED_RETRY_AFTER)
    return HttpResponse(content, content_type=kind, status=503, headers=headers)


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
    # The 500 is not closed: it holds nothing open, and closing any response tells Django that
    # the request has finished, which it has not for the middlewares outside of this one.
    replacement = unavailable(error)
    outages.log_refusal(request, error.message, replacement)
    return replacement


def _mark(*, request: HttpRequest | None = None, **_: Any) -> None:
    error = sys.exc_info()[1]
    if request is not None and isinstance(error, StoreUnavailable):
        setattr(request, MARK, type(error))  # The error itself would keep frames alive.
        outages.note(error)


setting_changed.connect(_forget, dispatch_uid="sessions_kms.middleware")
got_request_exception.connect(_mark, dispatch_uid="sessions_kms.middleware")
