"""The ASGI application: Django's handler, which also forwards calls that the gateway admits.

A call of an upstream runs through all of Django's middleware like any request, but its body stays
in the ASGI channel. Its session is prefetched, so that middleware and view need neither a thread
nor a wait (`middleware_run`). If a call requires a thread after all, thread and database connection
are given back before the upstream is called: an open stream holds neither.

Pages run in threads, with body and session read first: a client that sends or reads slowly holds
nothing. A request that waits too long for a thread is answered 503. Calls, pages, views that call a
provider and OAuth clients have separate thread pools (`thread_pools`), so that a slow provider or a
slow client document delays nothing else.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import OperationalError
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, get_resolver, resolve

from gateway_site.audit import trail as audit
from gateway_site.audit.call import AuditedCall
from gateway_site.edge import access_log, descriptors, own_cookies
from gateway_site.edge.client import Client, ClientGone, Receive, Send
from gateway_site.edge.reports import Tally
from gateway_site.forwarding import bearer
from gateway_site.forwarding.admission import ORIGINAL_SCOPE
from gateway_site.forwarding.middleware_run import (
    CallChain,
    MiddlewareChain,
    MiddlewareRun,
    RequiresThread,
    renew_session_cookie,
)
from gateway_site.forwarding.page_body import PageBody, has_session_cookie, is_staff_request
from gateway_site.forwarding.proxy import forward
from gateway_site.forwarding.rejected_pages import (
    BUSY,
    UNAVAILABLE,
    UnavailablePage,
    body_rejection,
)
from gateway_site.forwarding.thread_pools import (
    CLIENT_VIEWS,
    SIGN_IN_THREADS,
    THREADS,
    ClientThreadPools,
    FairSemaphore,
    ProviderThreadPool,
    QueueTimeout,
    ThreadPool,
    UserSemaphores,
    Work,
    connected_server,
    is_personal,
    provider_called_by,
)
from gateway_site.forwarding.upstream_call import (
    AdmittedResponse,
    GatewayRequest,
    settle_problem,
)
from gateway_site.forwarding.user_cache import user_cache
from gateway_site.health import PATHS as HEALTH_PATHS
from gateway_site.rules import problems, url_rules
from gateway_site.rules.headers import Headers
from oauth.backchannel import backchannel_logout
from oauth.connect import views as connect_views
from oauth.sign_in.views import callback, sign_in
from sessions_kms import StoreUnavailable, ahead

logger = logging.getLogger(__name__)

Content = Mapping[str, Any]  # of a session
# Reads a call's session, and gets what it holds to look at.
SessionBlock = AbstractAsyncContextManager[Content | SessionBase]

PROVIDER_VIEWS = frozenset(
    {sign_in, callback, backchannel_logout, connect_views.connect, connect_views.callback}
)
# The middleware sees no body. Without these headers it does not look for one, and reads a CSRF
# token from its header only.
BODY_HEADERS = frozenset({b"content-length", b"content-type", b"transfer-encoding"})
CONTENT_HEADERS = frozenset({b"content-length", b"content-type"})  # of a response without a body
# Calls that are admitted at the same time. Of a thousand that arrive at once the first is on its
# way to its upstream before the last is looked at, and no timeout measures how busy the event loop
# is.
ADMISSIONS = 32
# Calls of one person that are admitted in threads at the same time. Mostly the first one loads the
# person, and the others then need no thread.
USER_CALLS = THREADS // 4
# Pages of one person that are made at the same time, and seconds that one more waits.
USER_PAGES, USER_PAGES_TIMEOUT = THREADS // 4, 5.0
SIGN_IN_PAGE = "account_login"

_unaudited = Tally(logger, "%d calls were answered 503: the audit log cannot be written.")
_shed = Tally(logger, "%d requests were answered 503: they had waited too long for their turn.")


class GatewayHandler(ASGIHandler):
    """Django's handler, and the proxy under `/gateway/`."""

    request_class = GatewayRequest

    def __init__(self) -> None:
        super().__init__()
        self.middleware_chain, self.call_chain = MiddlewareChain(), CallChain()
        self._is_audited = audit.is_configured()
        self._admissions = FairSemaphore(ADMISSIONS)
        self._calls = ThreadPool("gateway-admission", THREADS)
        self._user_calls = UserSemaphores(USER_CALLS)
        self._pages = ThreadPool("gateway-pages", THREADS)
        self._user_pages = UserSemaphores(USER_PAGES, USER_PAGES_TIMEOUT)
        self._sign_ins = ThreadPool("gateway-sign-in-page", SIGN_IN_THREADS)
        self._unavailable = UnavailablePage()
        self._providers = ProviderThreadPool()
        self._clients = ClientThreadPools()
        # Imports all views and the error handler now, while files can be opened.
        get_resolver().resolve_error_handler(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)  # raises ValueError
            return
        if (path := _path(scope)) in HEALTH_PATHS:
            await self._serve_health_check(scope, receive, send)
            return
        client = Client(scope, receive)
        try:
            # By the decoded path: one that is only spelled differently is the gateway's to reject.
            if not path.startswith(url_rules.ROOT):
                await self._serve_page(scope, client, send)
            elif (self._is_audited or audit.audit_event.receivers) and path != url_rules.ROOT:
                await self._serve_audited_call(scope, client, send)
            else:
                await self._serve_call(scope, client, send)
        except (ClientGone, RequestAborted):
            pass

    async def _serve_audited_call(self, scope: Any, client: Client, send: Send) -> None:
        """Forward a call and record it; reject it if there is no room for its event."""
        call = AuditedCall(scope, send)
        try:
            if call.is_possible:
                await self._serve_call(scope, client, call.send)
            else:
                _unaudited.add()
                response = problems.unavailable("audit_unavailable", UNAVAILABLE).response()
                await self.send_response(response, call.send)
        except (ClientGone, RequestAborted):
            call.abandon()
            raise
        finally:
            call.end()

    async def _serve_call(self, scope: Any, client: Client, send: Send) -> None:
        """Forward a call that the view admits."""
        try:
            response = await self._admit(scope, client)
        except QueueTimeout:
            _shed.add()
            response = problems.unavailable("busy", BUSY).response()
        except OSError as error:
            if not descriptors.is_exhaustion(error):
                raise
            response = problems.unavailable("service_unavailable", UNAVAILABLE).response()
        if isinstance(response, AdmittedResponse):
            if entry := access_log.entry_of(scope):
                entry.upstream = response.call.upstream.name
            call = response.call
            try:
                problem = await forward(call, client, send, _header_list(response))
                if problem is None:
                    return
                problem = await settle_problem(call, problem)
                rejection = bearer.redirect_to_connect(call, problem) or problem.response()
                problems.copy_headers(response, rejection)
                await renew_session_cookie(call.request, rejection)
            finally:  # Otherwise an aborted call's session and tokens wait for the collector.
                call.release()
            response = rejection
        await self.send_response(problems.as_problem(response), send)

    async def _admit(self, scope: Any, client: Client) -> HttpResponseBase:
        """Run middleware and view for a call: in the event loop, if possible."""
        django_scope = _django_scope(scope)
        if not self.call_chain.is_non_blocking:
            run = MiddlewareRun(self, self.call_chain, django_scope, io.BytesIO())
            return await self._calls.run(client, run.run_in_thread)
        async with (
            self._admissions.permit(client) as permit,
            _prefetch_session(django_scope) as content,
        ):
            run = MiddlewareRun(self, self.call_chain, django_scope, io.BytesIO())
            if is_cached := user_cache().is_cached(content):
                with suppress(RequiresThread):
                    return run.run_in_loop()
            permit.release()  # Waiting for a thread must not delay calls that need none.
            async with self._user_calls.permit(content.get(SESSION_KEY), client):
                if not is_cached and user_cache().is_cached(content):  # by a call before this one
                    with suppress(RequiresThread):
                        return run.run_in_loop()
                return await self._calls.run(client, run.run_in_thread)

    async def _serve_page(self, scope: Any, client: Client, send: Send) -> None:
        match = _resolve(scope)
        try:
            body = await PageBody(
                scope, client, match, lambda: self._is_staff(scope, client)
            ).read()
            response = await self._make_page(scope, client, body, match)
        except (RequestDataTooBig, TimeoutError) as error:
            response = body_rejection(match and match.func, error)
        except QueueTimeout:
            _shed.add()
            response = self._unavailable.response(scope, match and match.func, BUSY)
        except (StoreUnavailable, OperationalError, OSError) as error:
            if isinstance(error, OSError) and not descriptors.is_exhaustion(error):
                raise
            response = self._unavailable.response(scope, match and match.func, UNAVAILABLE)
        await self.send_response(response, send)
        if response.streaming:
            response.close()

    async def _is_staff(self, scope: Any, client: Client) -> bool:
        """Return True for a request of a staff member; waits for a page thread, as pages do."""
        django_scope = _django_scope(scope)
        if not has_session_cookie(django_scope):
            return False
        async with self._pages.permit(client):
            return await is_staff_request(django_scope, self._pages.run_with_context)

    async def _make_page(
        self, scope: Any, client: Client, body: io.BytesIO, match: ResolverMatch | None
    ) -> HttpResponseBase:
        """Return a page, made in a thread of the pool for its kind."""
        work = MiddlewareRun(self, self.middleware_chain, scope, body).run_in_thread
        if match is not None and (match.url_name or "").startswith(CLIENT_VIEWS):
            if (server := connected_server(match.func, scope)) is not None:
                return await self._providers.run(client, work, provider=server)
            return await self._clients.choose(match.func, scope).run(client, work)
        if (provider := _provider_called(match)) is not None:
            return await self._providers.run(client, work, provider=provider)
        if match is not None and match.url_name == SIGN_IN_PAGE:
            return await self._sign_ins.run(client, work)
        if match is None or not is_personal(match.func, scope["method"]):
            return await self._pages.run(client, work)
        return await self._make_personal_page(_django_scope(scope), client, work)

    async def _make_personal_page(
        self, django_scope: Any, client: Client, work: Work
    ) -> HttpResponseBase:
        """Return a page that depends on its person; each person has a few made at the same time."""
        cookies = own_cookies.cookies_of(django_scope)
        async with self._pages.permit(client), ahead.session(cookies) as content:
            own = self._user_pages.permit(content.get(SESSION_KEY), client)
            if own.try_acquire():
                client.start_work()
                try:
                    return await self._pages.in_thread(work)
                finally:
                    own.release()
        # Waits without holding a page thread. The session is read again afterwards.
        async with own, self._pages.permit(client), ahead.session(cookies):
            client.start_work()
            return await self._pages.in_thread(work)

    async def _serve_health_check(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a health check without waiting for a permit: busy must not look broken.

        Headers about a body are dropped, since nothing here reads one.
        """
        headers = [pair for pair in scope.get("headers", ()) if pair[0].lower() not in BODY_HEADERS]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        except (RequestDataTooBig, TimeoutError) as error:
            await self.send_response(body_rejection(None, error), send)

    async def read_body(self, receive: Receive) -> io.BytesIO:
        """Read the body of a health check, as large as any page's; Django calls this.

        Raises RequestDataTooBig, TimeoutError and RequestAborted.
        """
        unknown: dict[str, Any] = {"headers": []}
        return await PageBody(unknown, Client(unknown, receive), None, _is_nobody_staff).read()


async def _is_nobody_staff() -> bool:
    return False


def _django_scope(scope: Any) -> Any:
    """Return a call's scope as Django sees it, without a body, with the original one inside."""
    headers = [
        pair
        for pair in own_cookies.keep_own_cookies(scope["headers"])
        if pair[0] not in BODY_HEADERS
    ]
    cookies = own_cookies.decode_cookies(headers)
    return {**scope, "headers": headers, own_cookies.COOKIES: cookies, ORIGINAL_SCOPE: scope}


def _prefetch_session(django_scope: Any) -> SessionBlock:
    """Return the block that reads a call's session, by a client's token or a cookie."""
    __traceback_hide__ = True
    if settings.AUTHORIZATION_SERVER:
        grant = _grant_prefetcher()(django_scope, _path(django_scope))
        if grant is not None:
            return grant
    return ahead.session(own_cookies.cookies_of(django_scope))


@cache
def _grant_prefetcher() -> Callable[[dict[str, Any], str], SessionBlock | None]:
    """Return `prefetch_grant`, whose module is not imported where clients are not allowed."""
    from gateway_site.forwarding.client_session import prefetch_grant  # noqa: PLC0415 - above

    return prefetch_grant


@cache
def gateway() -> GatewayHandler:
    """Return this process's handler."""
    return GatewayHandler()


def _provider_called(match: ResolverMatch | None) -> str | None:
    """Return the name of the provider that a page will call, or None."""
    if match is None:
        return None
    if match.func in PROVIDER_VIEWS:
        name: str = match.kwargs["provider_id"]
        return name
    return provider_called_by(match.func)


def _resolve(scope: Any) -> ResolverMatch | None:
    try:
        return resolve(_path(scope))
    except Resolver404:
        return None


def _path(scope: Any) -> str:
    path: str = scope["path"]
    return path.removeprefix(get_script_prefix(scope).rstrip("/"))


def _header_list(response: AdmittedResponse) -> Headers:
    """Return the headers that the middleware added to a response without a body."""
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()
    ]
    headers = [pair for pair in headers if pair[0] not in CONTENT_HEADERS]
    cookies = [cookie.OutputString().encode("latin-1") for cookie in response.cookies.values()]
    return headers + [(b"set-cookie", value) for value in cookies]
