"""The session cookie of an answer that Django's middleware never sees.

A token that is refreshed while a call is forwarded moves the session's end, after the
middleware has done its part; the cookie must not end before the session.
"""

from __future__ import annotations

from contextlib import suppress
from http.cookies import SimpleCookie

from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from gateway_site.rules.headers import Headers
from sessions_kms import GrantStore, StoreUnavailable
from sessions_kms.concurrency.executors import executor, in_thread

THREADS = 4  # of its own: in those of the event loop it would hold up look-ups of hosts


async def renew(request: HttpRequest, response: HttpResponse) -> None:
    """Give a response of any status the session's cookie where its age has changed."""
    response.cookies.update(await _cookies(request))


async def renewed(request: HttpRequest, headers: Headers) -> Headers:
    """Return an answer's headers, with the session's cookie where its age has changed."""
    if not request.session.modified:
        return headers
    name = settings.SESSION_COOKIE_NAME
    cookies = await _cookies(request)
    if name not in cookies:
        return headers
    ours = cookies[name].OutputString().encode("latin-1")
    start = name.encode("ascii") + b"="
    others = [pair for pair in headers if pair[0] != b"set-cookie" or not pair[1].startswith(start)]
    return [*others, (b"set-cookie", ours)]


async def _cookies(request: HttpRequest) -> SimpleCookie:
    response = HttpResponse()  # of its own: Django renews no cookie with a status of 5xx
    # A client's session has no cookie; what a refresh changed of it is stored already.
    if request.session.modified and not isinstance(request.session, GrantStore):
        # The call was made: whether the session stands is asked elsewhere.
        with suppress(SessionInterrupted, StoreUnavailable):
            await in_thread(executor("gateway-cookies", THREADS), _saved, request, response)
    return response.cookies


def _saved(request: HttpRequest, response: HttpResponse) -> HttpResponseBase:
    """Have Django save the session and set its cookie; what is stored already costs no call."""
    return SessionMiddleware(lambda _: response).process_response(request, response)
