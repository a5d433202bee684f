"""What the gateway adds to every response to a call: headers of the settings, Vary, and cookies.

A changed session is saved by Django's middleware, in a thread. The visit, and a token that is
refreshed for a call, extend the session after the call was admitted: `renew_session_cookie` and
`with_session_cookie` extend the cookie then.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Self

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.cache import patch_vary_headers

from gateway_site.forwarding.calls.caller import Caller, split_client_path
from gateway_site.forwarding.fixed_headers import FixedHeaders
from gateway_site.rules.headers import Headers
from sessions_kms import SessionTooLarge, StoreUnavailable
from sessions_kms.ahead import RequestKeys
from sessions_kms.concurrency.threads import executor, in_thread

COOKIE_THREADS = 4  # separate: in the event loop's own pool this would delay DNS lookups


@dataclass(slots=True)
class OwnHeaders:
    """The headers and cookies of one response."""

    fixed: FixedHeaders
    vary: str
    cookies: SimpleCookie = field(default_factory=SimpleCookie)

    @classmethod
    def of(
        cls,
        fixed: Mapping[bool, FixedHeaders],
        request: HttpRequest,
        caller: Caller | None,
        cookies: SimpleCookie,
        keys: RequestKeys,
    ) -> Self:
        """Return those of a request; `cookies` are Django's, and `keys` has the engine's."""
        headers = cls(fixed[request.is_secure()], _vary(request.path_info, caller))
        if not cookies and keys.session is None and keys.changed is None:
            return headers
        response = HttpResponse()
        response.cookies.update(cookies)
        headers.cookies.update(keys.set_cookies(response).cookies)
        headers.vary = headers.vary or "Cookie"
        return headers

    def encoded(self) -> Headers:
        """Return them for an upstream's response."""
        vary = [(b"vary", self.vary.encode("ascii"))] if self.vary else []
        cookies = [each.OutputString().encode("latin-1") for each in self.cookies.values()]
        return [*self.fixed.encoded, *vary, *((b"set-cookie", value) for value in cookies)]

    def add_to(self, response: HttpResponse) -> None:
        """Add them to a response of the gateway's own."""
        for name, value in self.fixed.pairs:
            response.headers.setdefault(name, value)
        if self.vary:
            patch_vary_headers(response, self.vary.split(", "))
        response.cookies.update(self.cookies)
        response.headers.setdefault("Content-Length", str(len(response.content)))


def _vary(path: str, caller: Caller | None) -> str:
    """Return which credentials decided, or could have."""
    by_cookie = caller is not None and caller.grant is None and caller.session.accessed
    if split_client_path(path) is None:
        return "Cookie" if by_cookie else ""
    return "Cookie, Authorization" if by_cookie else "Authorization, Cookie"


async def session_cookies(
    request: HttpRequest, caller: Caller | None, status: int, csrf: CsrfViewMiddleware
) -> SimpleCookie:
    """Save a changed session; return the cookies that Django's middleware sets for a response.

    Raises StoreUnavailable, SessionTooLarge, and SessionInterrupted if the session has ended.
    """
    needs_csrf = "CSRF_COOKIE_NEEDS_UPDATE" in request.META
    if not needs_csrf and (caller is None or not _has_changes(request, caller)):
        return SimpleCookie()
    response = HttpResponse(status=status)
    if needs_csrf:
        csrf.process_response(request, response)  # with CSRF_USE_SESSIONS it changes the session
    if caller is not None and _has_changes(request, caller):
        await _save(request, caller, response)
    return response.cookies


def _has_changes(request: HttpRequest, caller: Caller) -> bool:
    """Return True if the session was changed, or has ended and its cookie must go."""
    session = caller.session
    if caller.grant is not None:
        return session.modified
    has_cookie = settings.SESSION_COOKIE_NAME in request.COOKIES
    return _is_to_be_saved(session) or (has_cookie and session.is_empty())


def _is_to_be_saved(session: SessionBase) -> bool:
    every = settings.SESSION_SAVE_EVERY_REQUEST and not session.is_empty()
    return session.modified or every


async def _save(request: HttpRequest, caller: Caller, response: HttpResponse) -> None:
    """Save a changed session, and set or delete its cookie; a grant's session has none."""
    session = caller.session
    if caller.grant is None and _is_to_be_saved(session):
        await _save_in_thread(request, response)
    elif caller.grant is None:
        _save_session(request, response)
    # One that Django flushed at a new password has no key.
    elif session.session_key is not None and response.status_code < 500:
        with suppress(UpdateError):  # it has ended meanwhile
            await session.asave()


async def renew_session_cookie(
    request: HttpRequest, caller: Caller, response: HttpResponse
) -> None:
    """Set the session cookie on a response of any status, if the session's age has changed."""
    try:
        response.cookies.update(await _renewed_cookies(request, caller))
    except SessionInterrupted:
        response.cookies.pop(settings.SESSION_COOKIE_NAME, None)


async def with_session_cookie(request: HttpRequest, caller: Caller, headers: Headers) -> Headers:
    """Return response headers with the session cookie, if the session's age has changed.

    Without one if the session has ended: it would replace the cookie of a new sign-in.
    """
    name, renewed = settings.SESSION_COOKIE_NAME, Headers()
    try:
        cookies = await _renewed_cookies(request, caller)
        if name not in cookies:
            return headers
        renewed = [(b"set-cookie", cookies[name].OutputString().encode("latin-1"))]
    except SessionInterrupted:
        pass
    start = name.encode("ascii") + b"="
    others = [pair for pair in headers if pair[0] != b"set-cookie" or not pair[1].startswith(start)]
    return others + renewed


async def _renewed_cookies(request: HttpRequest, caller: Caller) -> SimpleCookie:
    """Return the session cookie if the session's age has changed.

    Raises SessionInterrupted if the session has ended or moved since the call was admitted.
    """
    response = HttpResponse()  # a separate one: Django renews no cookie with a status of 5xx
    session = caller.session
    # A client's session has no cookie; what a refresh changed in it is stored already.
    if session.modified and caller.grant is None:
        with suppress(SessionTooLarge, StoreUnavailable):  # The call was made nevertheless.
            if not await session.aexists(session.session_key or ""):
                raise SessionInterrupted
            await _save_in_thread(request, response)
    return response.cookies


async def _save_in_thread(request: HttpRequest, response: HttpResponse) -> None:
    await in_thread(executor("gateway-cookies", COOKIE_THREADS), _save_session, request, response)


def _save_session(request: HttpRequest, response: HttpResponse) -> HttpResponseBase:
    """Let Django save the session and set its cookie; no call if it is stored already."""
    return SessionMiddleware(lambda _: response).process_response(request, response)
