"""One request's run through Django's middleware and a view, in a thread or in the event loop.

In a thread the code may do whatever it likes. In the event loop it must not wait: what Django or
the session engine reject there with SynchronousOnlyOperation becomes `RequiresThread`, before
anything is logged or answered, and the same request is run in a thread. The handler decides which
is tried.

An admitted call, and a token that is refreshed for it, extend the session after the middleware has
run. `renew_session_cookie` and `with_session_cookie` extend the cookie then.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from http.cookies import SimpleCookie
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import signals
from django.core.cache import close_caches
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler, reset_urlconf
from django.core.handlers.exception import convert_exception_to_response
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal, receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, set_script_prefix
from django.utils.module_loading import import_string

from gateway_site.edge import access_log
from gateway_site.forwarding.upstream_call import (
    AdmittedResponse,
    client_grant_of,
    release_request,
)
from gateway_site.forwarding.user_cache import USER_ATTRIBUTE, USER_ID_ATTRIBUTE
from gateway_site.rules.headers import Headers
from sessions_kms import GrantStore, SessionTooLarge, StoreUnavailable, about
from sessions_kms.concurrency.threads import executor, in_thread

REQUEST_ID, ARRIVED = "request_id", "arrived"  # the request's attributes
IN_LOOP = "_gateway_in_loop"  # attribute of a request whose code must not block
WITHOUT_IO = "_gateway_without_io"  # attribute of a view

# Middleware that does not block, or raises SynchronousOnlyOperation instead. Any other one may
# block the event loop unnoticed: if one is configured, all requests run in threads.
NON_BLOCKING = frozenset(
    {
        "gateway_site.edge.own_cookies.OwnCookiesMiddleware",
        "gateway_site.health.HealthMiddleware",  # its addresses never come here
        "gateway_site.edge.middleware.PublicAddressMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "csp.middleware.CSPMiddleware",
        "gateway_site.edge.middleware.ContentPolicyMiddleware",
        "sessions_kms.middleware.StoreUnavailableMiddleware",
        "gateway_site.pages.session_full.SessionFullMiddleware",  # reads a session that was saved
        "oauth.sign_out.SignOutMiddleware",  # waits after a sign-out, which needs the session's I/O
        "gateway_site.edge.middleware.SignedOutMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        # For a client's call without a prefetched token it does I/O, which Django's guard detects.
        "gateway_site.forwarding.client_session.ClientSessionMiddleware",
        "gateway_site.edge.languages.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "oauth.sign_in.authentication.AuthenticationMiddleware",
        "gateway_site.edge.middleware.VisitMiddleware",  # a visit that is written needs a thread
        "django.contrib.messages.middleware.MessageMiddleware",
        "gateway_site.pages.session_limit.SessionLimitMiddleware",  # saves the session
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    }
)

# Middleware of pages, which does nothing for the call of an upstream: health checks, the ends of
# sessions by sign-out and sign-in, languages, visits, messages, and sign-ins of allauth that are
# under way.
PAGES_ONLY = frozenset(
    {
        "gateway_site.health.HealthMiddleware",
        "oauth.sign_out.SignOutMiddleware",
        "gateway_site.edge.middleware.SignedOutMiddleware",
        "gateway_site.edge.languages.LocaleMiddleware",
        "gateway_site.edge.middleware.VisitMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "gateway_site.pages.session_limit.SessionLimitMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    }
)

# Django's own receivers of request_started and request_finished. They clean up connections of a
# thread, of which the event loop's has none, and variables that end with the request's context.
DJANGO_RECEIVERS = frozenset(
    map(id, (reset_queries, close_old_connections, close_caches, reset_urlconf))
)


View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class RequiresThread(BaseException):
    """Raised in the event loop by code that needs a thread. Django would answer an Exception."""


def without_io(view: View) -> View:
    """Mark a view that waits for nothing but the session and its user."""
    setattr(view, WITHOUT_IO, True)
    return view


class MiddlewareChain(BaseHandler):
    """Django's middleware and views, run synchronously.

    Run asynchronously, Django's own middleware would switch threads twice per layer, which costs
    more than all they do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()


class CallChain(MiddlewareChain):
    """The same for calls of upstreams, without the middleware that only pages need."""

    def __init__(self) -> None:
        self.is_non_blocking = NON_BLOCKING.issuperset(settings.MIDDLEWARE)
        super().__init__()

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view; in the event loop it must be marked with `without_io`."""
        match = super().resolve_request(request)
        if hasattr(request, IN_LOOP) and not hasattr(match.func, WITHOUT_IO):
            raise RequiresThread
        return match

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it as Django does, which loads all of it if some is unknown."""
        if not self.is_non_blocking:
            super().load_middleware(is_async)
            return
        self._view_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        innermost = self._get_response  # type: ignore[attr-defined]  # which the stubs lack
        get_response: Any = convert_exception_to_response(innermost)
        for name in reversed(settings.MIDDLEWARE):
            if name in PAGES_ONLY:
                continue
            middleware = import_string(name)(get_response)
            if hasattr(middleware, "process_view"):
                self._view_middleware.insert(0, middleware.process_view)
            if hasattr(middleware, "process_exception"):
                self._exception_middleware.append(middleware.process_exception)
            get_response = convert_exception_to_response(middleware)
        self._middleware_chain = get_response


@receiver(signals.got_request_exception, dispatch_uid="gateway_site.passage")
def _leave_event_loop(request: HttpRequest | None = None, **_: Any) -> None:
    """Raise RequiresThread before Django handles SynchronousOnlyOperation as a server error."""
    if hasattr(request, IN_LOOP) and isinstance(sys.exc_info()[1], SynchronousOnlyOperation):
        raise RequiresThread


class MiddlewareRun:
    """One request. It can be tried in the event loop, and then run in a thread."""

    def __init__(
        self, handler: ASGIHandler, chain: MiddlewareChain, scope: Any, body: io.BytesIO
    ) -> None:
        self._handler = handler
        self._chain = chain
        self._scope = scope
        self._body = body
        self._has_started = False

    def run_in_loop(self) -> HttpResponseBase:
        """Return the response. Raises RequiresThread, before any visible effect."""
        try:
            return self._run(in_loop=True)
        except RequiresThread:
            self._body.seek(0)
            raise

    def run_in_thread(self) -> HttpResponseBase:
        """Return the response and close all that belongs to the request."""
        with closing(self._body):
            return self._run(in_loop=False)

    def _run(self, *, in_loop: bool) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(self._scope))
        self._send_started(in_loop)
        request, response = self._handler.create_request(self._scope, self._body)
        if request is not None:
            if in_loop:
                setattr(request, IN_LOOP, True)
            response = self._get_response(request)
        if response is None:
            raise AssertionError("Django returned neither a request nor a response.")
        if isinstance(response, AdmittedResponse):
            if in_loop and not _has_other_receivers(signals.request_finished):
                response.close_silently()
            else:
                response.close()
        elif not response.streaming:
            response.close()
            if request is not None:
                release_request(request)
        return response

    def _send_started(self, in_loop: bool) -> None:
        """Send request_started once, in a thread or if somebody besides Django receives it."""
        if in_loop and not _has_other_receivers(signals.request_started):
            return
        if self._has_started:
            close_old_connections()  # as Django's receiver does in the thread that runs it
            return
        try:
            signals.request_started.send(sender=self._handler.__class__, scope=self._scope)
        except SynchronousOnlyOperation:  # of a connection that this thread has from before
            raise RequiresThread from None
        self._has_started = True

    def _get_response(self, request: ASGIRequest) -> HttpResponseBase:
        """Run middleware and view; exchange ids and times with the access log."""
        entry = access_log.entry_of(request.scope)
        if entry:
            setattr(request, REQUEST_ID, entry.id)
            setattr(request, ARRIVED, entry.began)
        response: HttpResponseBase = self._chain.get_response(request)
        if entry:
            entry.user = _user_id(request)
            entry.client = _client_id(request)
            if request.resolver_match is not None:
                entry.route = request.resolver_match.route
        return response


def _has_other_receivers(signal: Signal) -> bool:
    """Return True if a signal has receivers besides Django's own."""
    return not DJANGO_RECEIVERS.issuperset([found[0][0] for found in signal.receivers])


def _user_id(request: ASGIRequest) -> str:
    """Return the id of the request's user, if it was looked up; otherwise "-"."""
    user = getattr(request, USER_ATTRIBUTE, None)
    if user is None:
        return str(getattr(request, USER_ID_ATTRIBUTE, access_log.UNKNOWN))
    return access_log.UNKNOWN if user.pk is None else str(user.pk)


def _client_id(request: ASGIRequest) -> str:
    """Return the id of the OAuth client whose token came with the request; otherwise "-"."""
    if client_grant_of(request) is None:
        return access_log.UNKNOWN
    return about.read_labels(request.session).get(about.CLIENT_ID, access_log.UNKNOWN)


COOKIE_THREADS = 4  # separate: in the event loop's own pool this would delay DNS lookups


async def renew_session_cookie(request: HttpRequest, response: HttpResponse) -> None:
    """Set the session cookie on a response of any status, if the session's age has changed."""
    response.cookies.update(await _session_cookies(request))


async def with_session_cookie(request: HttpRequest, headers: Headers) -> Headers:
    """Return response headers with the session cookie, if the session's age has changed."""
    if not request.session.modified:
        return headers
    name = settings.SESSION_COOKIE_NAME
    cookies = await _session_cookies(request)
    if name not in cookies:
        return headers
    ours = cookies[name].OutputString().encode("latin-1")
    start = name.encode("ascii") + b"="
    others = [pair for pair in headers if pair[0] != b"set-cookie" or not pair[1].startswith(start)]
    return [*others, (b"set-cookie", ours)]


async def _session_cookies(request: HttpRequest) -> SimpleCookie:
    response = HttpResponse()  # a separate one: Django renews no cookie with a status of 5xx
    # A client's session has no cookie; what a refresh changed in it is stored already.
    if request.session.modified and not isinstance(request.session, GrantStore):
        # The call was made: an ended session is noticed elsewhere, and so is a full one.
        with suppress(SessionInterrupted, SessionTooLarge, StoreUnavailable):
            await in_thread(
                executor("gateway-cookies", COOKIE_THREADS), _save_session, request, response
            )
    return response.cookies


def _save_session(request: HttpRequest, response: HttpResponse) -> HttpResponseBase:
    """Let Django save the session and set its cookie; no call if it is stored already."""
    return SessionMiddleware(lambda _: response).process_response(request, response)
