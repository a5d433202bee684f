"""Sessions of OAuth clients' calls: read by their token, and set by a middleware.

`Authorization: Bearer gwa_…` selects the session of a grant for a call, before anything asks for a
CSRF token: no browser sends that header by itself. Cookies are then ignored, and none is set. A
program without credentials gets a challenge. Any other session is Django's own.

The session is read in the event loop, before Django's middleware runs, and left in the ASGI scope,
as is an error. The middleware takes it once; otherwise it reads the session itself. This module is
imported only where clients are allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils.asyncio import async_unsafe
from django.utils.cache import patch_vary_headers

from gateway_site.forwarding.upstream_call import (
    CHALLENGE,
    ClientGrant,
    client_challenge,
    client_grant_of,
    mark_client_request,
    split_client_path,
)
from gateway_site.rules import origin, problems
from gateway_site.rules.problems import Problem, signed_out, unavailable
from oauth.clients import wanted_scopes
from oauth.clients.grants import grants
from sessions_kms import GrantStore, ahead, outages
from sessions_kms.concurrency.waits import BlockingCall, run_sync
from sessions_kms.services import are_made, services

BEARER = re.compile(r"bearer(?: +(?P<token>.*))?", re.IGNORECASE)  # RFC 6750 section 2.1
GRANT_KEY = "gateway.grant"  # in the scope


class PrefetchedGrant:
    """What one token opens at one upstream: read at the start of a block, to be taken once in it.

    The block gets the session to look at; an empty mapping if the token opens nothing, or if that
    cannot be determined. Waits at its start and within the block share one time limit.
    """

    __slots__ = ("_bound", "_error", "_of", "_session")

    def __init__(self, token: str, upstream: str) -> None:
        self._of: tuple[str, str] | None = (token, upstream)
        self._session: GrantStore | None = None
        self._error: Exception | None = None

    async def __aenter__(self) -> Mapping[str, Any] | SessionBase:
        __traceback_hide__ = True
        assert self._of is not None  # noqa: S101 - it is read before it is taken
        self._bound = ahead.bounded()
        self._bound.__enter__()
        try:
            self._session = await _load_grant(*self._of)
        except Exception as error:  # noqa: BLE001 - raised again by take()
            self._error = error
        except BaseException:
            self._bound.__exit__(None, None, None)
            raise
        return {} if self._session is None else self._session

    async def __aexit__(self, *_: object) -> None:
        self._bound.__exit__(None, None, None)

    def is_of(self, token: str, upstream: str) -> bool:
        """Return True if this is for the token at the upstream."""
        __traceback_hide__ = True
        return self._of == (token, upstream)

    def take(self) -> GrantStore | None:
        """Return what was read, or raise its error, once."""
        __traceback_hide__ = True
        session, error = self._session, self._error
        # The scope lives as long as a response streams.
        self._of = self._session = self._error = None
        try:
            if error is not None:
                raise error
            return session
        finally:
            error = None  # Its traceback has this frame: each would keep the other.


def prefetch_grant(scope: dict[str, Any], path: str) -> PrefetchedGrant | None:
    """Return the block that reads what the token of a call opens, and leave it in the scope.

    None for a call without a token, or to an upstream that no client may call.
    """
    __traceback_hide__ = True
    found = split_client_path(path)
    token = None if found is None else bearer_token_of_scope(scope)
    if found is None or token is None:
        return None
    scope[GRANT_KEY] = left = PrefetchedGrant(token, found[0])
    return left


def bearer_token(authorization: str) -> str | None:
    """Return the bearer token of an `Authorization` header; None without one."""
    __traceback_hide__ = True
    match = BEARER.fullmatch(authorization)
    return None if match is None else match["token"] or ""


def bearer_token_of_scope(scope: Mapping[str, Any]) -> str | None:
    """Return the bearer token of a scope, read as Django reads the header."""
    __traceback_hide__ = True
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return bearer_token(b",".join(found).decode("latin-1"))


def prefetched_grant(request: HttpRequest, token: str, upstream: str) -> PrefetchedGrant | None:
    """Return what was prefetched for a token at an upstream."""
    __traceback_hide__ = True
    left: PrefetchedGrant | None = getattr(request, "scope", {}).get(GRANT_KEY)
    return left if left is not None and left.is_of(token, upstream) else None


async def _load_grant(token: str, upstream: str) -> GrantStore | None:
    __traceback_hide__ = True
    if not are_made():
        await BlockingCall(services)
    return await grants().session(token, upstream=upstream)


class ClientSessionMiddleware(SessionMiddleware):
    """Sets the session that a token opens, and no cookie."""

    # Django accepts a response from here, unlike its stubs.
    def process_request(self, request: HttpRequest) -> HttpResponse | None:  # type: ignore[override]
        """Set the session; answer 401 to a program without credentials."""
        __traceback_hide__ = True
        if (found := split_client_path(request.path_info)) is not None:
            token = bearer_token(request.META.get("HTTP_AUTHORIZATION", ""))
            if token is not None:
                return _use_token(request, token, found[0])
            if _has_no_credentials(request):
                return _challenge_or_outage(request)
        super().process_request(request)
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save changes; only a browser's session has a cookie."""
        grant = client_grant_of(request)
        if grant is None:
            response = super().process_response(request, response)
        elif _needs_saving(request, response):
            with suppress(UpdateError):  # it has ended meanwhile
                request.session.save()
        if grant is not None or split_client_path(request.path_info) is not None:
            patch_vary_headers(response, ("Authorization", "Cookie"))
            if response.status_code == 401 and not response.get(CHALLENGE, "").startswith("Bearer"):
                invalid = grant is not None
                response[CHALLENGE] = client_challenge(request.path_info, invalid=invalid) or ""
        return response


def _use_token(request: HttpRequest, token: str, upstream: str) -> HttpResponse | None:
    """Set the session that a token opens at this upstream; return a 401 if there is none."""
    __traceback_hide__ = True
    session = _grant_session(request, token, upstream)
    if session is None:
        detail = "The access token is invalid, has expired, or is not for this upstream."
        return _unauthorized(request, Problem(401, "invalid_token", detail), invalid=True)
    request.session = session
    grant = ClientGrant(
        end=lambda: _end_grant(session, token),
        demand_scopes=partial(wanted_scopes.demand_scopes, session),
    )
    mark_client_request(request, grant)
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # Django's own switch
    return None


def _grant_session(request: HttpRequest, token: str, upstream: str) -> GrantStore | None:
    __traceback_hide__ = True
    if (prefetched := prefetched_grant(request, token, upstream)) is not None:
        return prefetched.take()
    _require_thread()
    return run_sync(grants().session(token, upstream=upstream))


@async_unsafe("The session of a token has to be read.")
def _require_thread() -> None:
    """Raise SynchronousOnlyOperation in an event loop.

    A separate function, since the frame of a decorator would hold the token.
    """


def _needs_saving(request: HttpRequest, response: HttpResponse) -> bool:
    """Return True if a grant changed; one that Django flushed at a new password has no key."""
    session = request.session
    is_there = session.session_key is not None
    return is_there and session.modified and response.status_code < 500


async def _end_grant(session: GrantStore, token: str) -> None:
    __traceback_hide__ = True
    await grants().end(session, access_token=token)


def _has_no_credentials(request: HttpRequest) -> bool:
    """Return True for a program without cookie and token; people are sent to sign in."""
    has_cookie = settings.SESSION_COOKIE_NAME in request.COOKIES
    return not has_cookie and not origin.is_navigation(request)


def _challenge_or_outage(request: HttpRequest) -> HttpResponse:
    """Return the challenge; in an outage, in which a sign-in would fail, a 503.

    The Python SDK repeats a call without its token after a refresh was answered 503, and opens the
    browser at the challenge. A 503 makes it keep what it has.
    """
    if outages.is_at_hand():
        detail = "The session store cannot be used at the moment."
        return unavailable("store_unavailable", detail).response()
    if problems.database_outage.is_at_hand():
        detail = "The database cannot be used at the moment."
        return unavailable("database_unavailable", detail).response()
    return _unauthorized(request, signed_out(), invalid=False)


def _unauthorized(request: HttpRequest, problem: Problem, *, invalid: bool) -> HttpResponse:
    problem.headers[CHALLENGE] = client_challenge(request.path_info, invalid=invalid) or ""
    return problem.response()
