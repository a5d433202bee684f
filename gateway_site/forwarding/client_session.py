"""A middleware in place of Django's for sessions, where OAuth clients are let in.

`Authorization: Bearer gwa_…` makes the session of a grant that of a call, before anything asks for
a CSRF token: no browser sends that header by itself. Cookies then count for nothing, and none is
set. Everywhere else, and for every other request, it is Django's own.
"""

from __future__ import annotations

from contextlib import suppress

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils.asyncio import async_unsafe
from django.utils.cache import patch_vary_headers

from gateway_site.forwarding import client_calls
from gateway_site.forwarding.ahead import grant
from gateway_site.forwarding.client_calls import CHALLENGE, ClientCall
from gateway_site.rules import origin, problems
from gateway_site.rules.problems import Problem, signed_out, unavailable
from oauth.clients.grants import grants
from sessions_kms import GrantStore, outages
from sessions_kms.concurrency.waits import run_sync


class ClientSessionMiddleware(SessionMiddleware):
    """Gives a call the session that its token opens, and its answer no cookie."""

    # Django's middleware takes an answer from here; its stubs have it that this one gives none.
    def process_request(self, request: HttpRequest) -> HttpResponse | None:  # type: ignore[override]
        """Find the session; answer 401 where a program has nothing to show."""
        __traceback_hide__ = True
        if (found := client_calls.offered(request.path_info)) is not None:
            token = grant.token_of(request.headers.get("Authorization", ""))
            if token is not None:
                return _opened(request, token, found[0])
            if _has_nothing(request):
                return _challenged(request)
        super().process_request(request)
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save what changed; only a browser's session has a cookie."""
        if client_calls.of(request) is None:
            response = super().process_response(request, response)
        elif _is_to_be_saved(request, response):
            with suppress(UpdateError):  # it has ended meanwhile
                request.session.save()
        if client_calls.offered(request.path_info) is not None:
            patch_vary_headers(response, ("Authorization", "Cookie"))
            if response.status_code == 401 and not response.get(CHALLENGE, "").startswith("Bearer"):
                invalid = client_calls.of(request) is not None
                told = client_calls.challenge_of(request.path_info, invalid=invalid)
                response[CHALLENGE] = told or ""
        return response


def _opened(request: HttpRequest, token: str, upstream: str) -> HttpResponse | None:
    """Have the request go on with the session that a token opens at this upstream."""
    __traceback_hide__ = True
    session = _session_of(request, token, upstream)
    if session is None:
        detail = "The access token is not valid, or not any more, or not for this upstream."
        return _refused(request, Problem(401, "invalid_token", detail), invalid=True)
    request.session = session
    client_calls.mark(request, ClientCall(lambda: _ended(session, token)))
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # Django's own switch
    return None


def _session_of(request: HttpRequest, token: str, upstream: str) -> GrantStore | None:
    __traceback_hide__ = True
    if (ahead := grant.of(request, token, upstream)) is not None:
        return ahead.taken()
    _will_wait()
    return run_sync(grants().session(token, upstream=upstream))


@async_unsafe("A token's session has to be read.")
def _will_wait() -> None:
    """Raise SynchronousOnlyOperation in an event loop.

    A call of its own rather than a decorator, whose frame would hold the token.
    """


def _is_to_be_saved(request: HttpRequest, response: HttpResponse) -> bool:
    """Tell whether a grant changed; one that Django flushed, at a new password, has no key."""
    session = request.session
    is_there = session.session_key is not None
    return is_there and session.modified and response.status_code < 500


async def _ended(session: GrantStore, token: str) -> None:
    __traceback_hide__ = True
    await grants().end(session, access_token=token)


def _has_nothing(request: HttpRequest) -> bool:
    """Tell whether a program shows neither a cookie nor a token; a person is sent to sign in."""
    has_cookie = settings.SESSION_COOKIE_NAME in request.COOKIES
    return not has_cookie and not origin.is_navigation(request)


def _challenged(request: HttpRequest) -> HttpResponse:
    """Return where a sign-in begins; in an outage, in which it would not end, that it is one.

    The SDK for Python asks once more without its token where a refresh was answered 503, and opens
    the browser at the challenge: a 503 makes it keep what it has.
    """
    if outages.is_at_hand():
        detail = "The session store cannot be used at the moment."
        return unavailable("store_unavailable", detail).response()
    if problems.database_outage.is_at_hand():
        detail = "The database cannot be used at the moment."
        return unavailable("database_unavailable", detail).response()
    return _refused(request, signed_out(), invalid=False)


def _refused(request: HttpRequest, problem: Problem, *, invalid: bool) -> HttpResponse:
    told = client_calls.challenge_of(request.path_info, invalid=invalid)
    problem.headers[CHALLENGE] = told or ""
    return problem.response()
