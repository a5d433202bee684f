"""Pages: Django's handler and the project's `MIDDLEWARE`, run in threads.

Body and session are read first, so that a client that sends or reads slowly holds no thread. A
request that waits too long for a thread is answered 503. The sign-in page, pages that call a
provider, and those of OAuth clients have separate thread pools (`thread_pools`), so that slow
lists, a slow provider or a slow client document delay nothing else.
"""

import io
from contextlib import closing
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.core import signals
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import OperationalError
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve, set_script_prefix

from gateway_site.edge import access_log, descriptors, own_cookies
from gateway_site.edge.client import Client, Send
from gateway_site.forwarding.error_pages import ErrorPages, body_rejection
from gateway_site.forwarding.pages.body import PageBody, has_session_cookie, is_staff_request
from gateway_site.forwarding.request import BODY_HEADERS, release_request
from gateway_site.forwarding.thread_pools import (
    BUSY,
    CLIENT_VIEWS,
    SIGN_IN_THREADS,
    THREADS,
    UNAVAILABLE,
    ClientThreadPools,
    ProviderThreadPool,
    QueueTimeout,
    ThreadPool,
    UserSemaphores,
    Work,
    connected_server,
    is_personal,
    provider_called_by,
    shed,
)
from oauth.backchannel import backchannel_logout
from oauth.connect import views as connect_views
from oauth.sign_in.authentication import CACHED_USER
from oauth.sign_in.views import callback, sign_in
from sessions_kms import StoreUnavailable, ahead

PROVIDER_VIEWS = frozenset(
    {sign_in, callback, backchannel_logout, connect_views.connect, connect_views.callback}
)
# Pages of one person that are made at the same time, and seconds that one more waits.
USER_PAGES, USER_PAGES_TIMEOUT = THREADS // 4, 5.0
SIGN_IN_PAGE = "account_login"


class MiddlewareChain(BaseHandler):
    """Django's middleware and views, run synchronously.

    Run asynchronously, Django's own middleware would switch threads twice per layer, which costs
    more than all they do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()


class MiddlewareRun:
    """One request."""

    def __init__(
        self, handler: ASGIHandler, chain: MiddlewareChain, scope: Any, body: io.BytesIO
    ) -> None:
        self._handler = handler
        self._chain = chain
        self._scope = scope
        self._body = body

    def run_in_thread(self) -> HttpResponseBase:
        """Return the response and close all that belongs to the request."""
        with closing(self._body):
            set_script_prefix(get_script_prefix(self._scope))
            signals.request_started.send(sender=self._handler.__class__, scope=self._scope)
            request, response = self._handler.create_request(self._scope, self._body)
            if request is not None:
                response = self._get_response(request)
            if response is None:
                raise AssertionError("Django returned neither a request nor a response.")
            if not response.streaming:
                response.close()
                if request is not None:
                    release_request(request)
            return response

    def _get_response(self, request: ASGIRequest) -> HttpResponseBase:
        """Run middleware and view; exchange ids and times with the access log."""
        access_log.note_request(request)
        response: HttpResponseBase = self._chain.get_response(request)
        if entry := access_log.entry_of(request.scope):
            user = getattr(request, CACHED_USER, None)
            if user is not None and user.pk is not None:
                entry.user = str(user.pk)
            if request.resolver_match is not None:
                entry.route = request.resolver_match.route
        return response


class Pages:
    """Serves pages."""

    def __init__(self, handler: ASGIHandler) -> None:
        self._handler = handler
        self.middleware_chain = MiddlewareChain()
        self._pages = ThreadPool("gateway-pages", THREADS)
        self._user_pages = UserSemaphores(USER_PAGES, USER_PAGES_TIMEOUT)
        self._sign_ins = ThreadPool("gateway-sign-in-page", SIGN_IN_THREADS)
        self._providers = ProviderThreadPool()
        self._clients = ClientThreadPools()
        self.error_pages = ErrorPages(self._pages)

    async def serve(self, scope: Any, client: Client, send: Send) -> None:
        """Serve one page. Raises ClientGone."""
        match = _resolve(scope)
        try:
            body = await PageBody(
                scope, client, match, lambda: self._is_staff(scope, client)
            ).read()
            response = await self._render(scope, client, body, match)
        except (RequestDataTooBig, TimeoutError) as error:
            response = body_rejection(match and match.func, error)
        except QueueTimeout:
            shed.add()
            response = self.error_pages.unavailable(scope, match and match.func, BUSY)
        except (StoreUnavailable, OperationalError, OSError) as error:
            if isinstance(error, OSError) and not descriptors.is_exhaustion(error):
                raise
            response = self.error_pages.unavailable(scope, match and match.func, UNAVAILABLE)
        response = await self.error_pages.choose(scope, client, response)
        await self._handler.send_response(response, send)
        if response.streaming:
            response.close()

    async def _is_staff(self, scope: Any, client: Client) -> bool:
        """Return True for a request of a staff member; waits for a page thread, as pages do."""
        django_scope = _django_scope(scope)
        if not has_session_cookie(django_scope):
            return False
        async with self._pages.permit(client):
            return await is_staff_request(django_scope, self._pages)

    async def _render(
        self, scope: Any, client: Client, body: io.BytesIO, match: ResolverMatch | None
    ) -> HttpResponseBase:
        """Return a page, made in a thread of the pool for its kind."""
        work = MiddlewareRun(self._handler, self.middleware_chain, scope, body).run_in_thread
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
        return await self._render_personal(_django_scope(scope), client, work)

    async def _render_personal(
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


def _django_scope(scope: Any) -> Any:
    """Return a scope with the gateway's own cookies only, decoded, and without a body."""
    headers = [
        pair
        for pair in own_cookies.keep_own_cookies(scope["headers"])
        if pair[0] not in BODY_HEADERS
    ]
    cookies = own_cookies.decode_cookies(headers)
    return {**scope, "headers": headers, own_cookies.COOKIES: cookies}


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
        return resolve(path_of(scope))
    except Resolver404:
        return None


def path_of(scope: Any) -> str:
    """Return the decoded path below the prefix at which the gateway is served."""
    path: str = scope["path"]
    return path.removeprefix(get_script_prefix(scope).rstrip("/"))
