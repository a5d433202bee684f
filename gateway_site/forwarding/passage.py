"""One request's way through Django's own middleware and a view, wherever that is run.

An ASGI scope and a body enter, the response leaves. In a thread that code may do whatever it
likes. In the event loop it must not wait for anything: there, what Django or the session engine
refuse with SynchronousOnlyOperation becomes `NeedsThread`, before anything is logged or
answered, and the same request goes the other way. Which way a request goes, others decide.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from django.conf import settings
from django.core import signals
from django.core.cache import close_caches
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler, reset_urlconf
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal, receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, set_script_prefix

from gateway_site.edge import access_log
from gateway_site.forwarding.call import Admitted
from gateway_site.forwarding.people import CALLER, FOUND
from gateway_site.forwarding.request import finish

REQUEST_ID, ARRIVED = "request_id", "arrived"  # the request's attributes
IN_LOOP = "_gateway_in_loop"  # the request's attribute: whose code must not wait
WITHOUT_IO = "_gateway_without_io"  # the view's

# Middleware that waits for nothing, or for what raises SynchronousOnlyOperation. What is not named
# here may block without a word, and every request with it: then all of them go through threads.
KNOWN = frozenset(
    {
        "gateway_site.edge.own_cookies.OwnCookiesMiddleware",
        "gateway_site.health.HealthMiddleware",  # its addresses never come here
        "gateway_site.edge.middleware.PublicAddressMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "csp.middleware.CSPMiddleware",
        "gateway_site.edge.middleware.ContentPolicyMiddleware",
        "sessions_kms.middleware.StoreUnavailableMiddleware",
        "oauth.sign_out.SignOutMiddleware",  # waits after a sign-out, which needs the session's I/O
        "gateway_site.edge.middleware.SignedOutMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        # Of a client's call whose token was not read ahead it needs I/O, whose guard is Django's.
        "gateway_site.forwarding.client_session.ClientSessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "oauth.sign_in.authentication.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    }
)

# What Django has told itself of a request's beginning and end. They look after a thread's
# connections, of which the event loop's has none, and after what its context forgets by itself.
OF_DJANGO = frozenset(map(id, (reset_queries, close_old_connections, close_caches, reset_urlconf)))


View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class NeedsThread(BaseException):
    """What is run in the event loop needs a thread. No Exception: Django answers those."""


def without_io(view: View) -> View:
    """Mark a view that waits for nothing but the session and who has it."""
    setattr(view, WITHOUT_IO, True)
    return view


def wait_in_thread(request: HttpRequest) -> None:
    """Leave the event loop, if the request is in it, before something is waited for."""
    if hasattr(request, IN_LOOP):
        raise NeedsThread


class Chain(BaseHandler):
    """Django's middleware and views, synchronous from end to end.

    Called asynchronously Django's own middleware would change threads twice for each of its
    layers, which costs more than all they do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()
        self.is_known = KNOWN.issuperset(settings.MIDDLEWARE)

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view; in the event loop none but a marked one."""
        match = super().resolve_request(request)
        if not hasattr(match.func, WITHOUT_IO):
            wait_in_thread(request)
        return match


@receiver(signals.got_request_exception, dispatch_uid="gateway_site.passage")
def _leave(request: HttpRequest | None = None, **_: Any) -> None:
    """Leave the event loop, before Django takes what needs a thread for a failure of the site."""
    if hasattr(request, IN_LOOP) and isinstance(sys.exc_info()[1], SynchronousOnlyOperation):
        raise NeedsThread


class Passage:
    """One request; it may be tried in the event loop, and then done in a thread."""

    def __init__(self, handler: ASGIHandler, chain: Chain, scope: Any, body: io.BytesIO) -> None:
        self._handler = handler
        self._chain = chain
        self._scope = scope
        self._body = body
        self._has_begun = False

    def in_loop(self) -> HttpResponseBase:
        """Return the response. Raises NeedsThread, and has then shown nothing."""
        try:
            return self._answered(in_loop=True)
        except NeedsThread:
            self._body.seek(0)
            raise

    def in_thread(self) -> HttpResponseBase:
        """Return the response, everything of the request's closed."""
        with closing(self._body):
            return self._answered(in_loop=False)

    def _answered(self, *, in_loop: bool) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(self._scope))
        self._begin(in_loop)
        request, refusal = self._handler.create_request(self._scope, self._body)
        response = refusal if request is None else self._admitted(request, in_loop)
        if response is None:
            raise AssertionError("Django made neither a request nor a refusal.")
        _close(response, in_loop)
        if request is not None and not (response.streaming or isinstance(response, Admitted)):
            finish(request)
        return response

    def _begin(self, in_loop: bool) -> None:
        """Tell once that the request has begun, if not before it is in a thread."""
        if in_loop and not _is_heard(signals.request_started):
            return
        if self._has_begun:
            close_old_connections()  # as Django does in the thread that it tells this in
            return
        try:
            signals.request_started.send(sender=self._handler.__class__, scope=self._scope)
        except SynchronousOnlyOperation:  # of a connection that this thread has from before
            raise NeedsThread from None
        self._has_begun = True

    def _admitted(self, request: ASGIRequest, in_loop: bool) -> HttpResponseBase:
        known = access_log.noted(request.scope)
        if known:
            setattr(request, REQUEST_ID, known.id)
            setattr(request, ARRIVED, known.began)
        if in_loop:
            setattr(request, IN_LOOP, True)
        response: HttpResponseBase = self._chain.get_response(request)
        if known:
            known.user = _user_of(request)
        return response


def _close(response: HttpResponseBase, in_loop: bool) -> None:
    if in_loop and isinstance(response, Admitted) and not _is_heard(signals.request_finished):
        response.close_untold()
    elif not response.streaming:
        response.close()


def _is_heard(signal: Signal) -> bool:
    """Tell whether anybody is told by a signal but Django, of what the event loop does not have."""
    return not OF_DJANGO.issuperset([found[0][0] for found in signal.receivers])


def _user_of(request: ASGIRequest) -> str:
    """Return the id of who asked, without asking the session or the database for it."""
    user = getattr(request, FOUND, None)
    if user is None:
        return str(getattr(request, CALLER, "-"))
    return "-" if user.pk is None else str(user.pk)
