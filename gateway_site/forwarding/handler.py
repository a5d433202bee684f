"""The ASGI application: Django's own, which forwards what the gateway's view admits.

A call of an upstream passes through Django's whole middleware like any request, but its
body stays in the ASGI channel. Its session is read ahead, and then middleware and view need
neither a thread nor a wait (`passage`). A call that needs a thread after all has given it and its
database connection back before the upstream is called: an open stream holds neither.

Pages take the same way with the body read before: nothing is held for a client that sends slowly
or reads slowly. What a page shows is read ahead as well where its view says what that is
(`ahead.page`), and then only the database takes a thread; all others have one. Who finds no
place for too long is told to come again; calls, pages, what asks a provider and OAuth clients wait
in lines of their own (`lanes`), so that a slow provider or client's document holds up nothing else.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Awaitable, Callable, Mapping
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
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, get_resolver, resolve

from gateway_site.edge import access_log, descriptors, own_cookies
from gateway_site.edge.client import Client, ClientGone, Receive, Send
from gateway_site.edge.reports import Tally
from gateway_site.forwarding import admission, client_calls, proxy
from gateway_site.forwarding.ahead import page, staff
from gateway_site.forwarding.bounds.gate import Busy, Gate, PersonGates
from gateway_site.forwarding.bounds.lanes import (
    CLIENTS,
    THREADS,
    ClientLanes,
    Lane,
    ProviderLane,
    provider_asked_by,
)
from gateway_site.forwarding.bounds.page_body import PageBody
from gateway_site.forwarding.call import Admitted
from gateway_site.forwarding.passage import Chain, NeedsThread, Passage
from gateway_site.forwarding.people import people
from gateway_site.forwarding.request import Request
from gateway_site.health import PATHS as HEALTH_PATHS
from gateway_site.rules import cookies, problems, url_rules
from gateway_site.rules.headers import Headers
from oauth.backchannel import backchannel_logout
from oauth.sign_in.views import callback, sign_in
from sessions_kms import StoreUnavailable, ahead
from sessions_kms.middleware import TEXT, unavailable

logger = logging.getLogger(__name__)

Content = Mapping[str, Any]  # of a session
Making = Callable[[Content], Awaitable[HttpResponseBase]]

ASK_A_PROVIDER = frozenset({sign_in, callback, backchannel_logout})
QUERY_IN_LOOP = 4096  # bytes; of a page with a longer one a thread parses it
# The middleware sees no body. Without these it does not look for one; a CSRF token is then
# read from its header only.
ABOUT_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding"})
OF_CONTENT = frozenset({b"content-length", b"content-type"})  # of an answer that has none
# Calls that are admitted at one time: of a thousand that come at once the first is on its way to
# its upstream before the last is looked at, and no time-out measures how busy the event loop is.
ADMISSIONS = 32
# Pages of one person that are made at one time. One more waits so many seconds; nobody else does.
OWN_PAGES, OWN_PATIENCE = THREADS // 4, 5.0
BUSY = "Too many requests wait here. Try again in a few seconds."

_shed = Tally(logger, "%d requests were told to come again: no thread was free.")


class GatewayHandler(ASGIHandler):
    """Django's handler, and the proxy under `/gateway/`."""

    request_class = Request

    def __init__(self) -> None:
        super().__init__()
        self.admission = Chain()
        self._doors = Gate(ADMISSIONS)
        self._calls = Lane("gateway-admission", THREADS)
        self._pages = Lane("gateway-pages", THREADS)
        self._own_pages = PersonGates(OWN_PAGES, OWN_PATIENCE)
        self._providers = ProviderLane()
        self._clients = ClientLanes()
        # Imports all views, and what answers when one fails, while files can be opened.
        get_resolver().resolve_error_handler(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or (path := _path(scope)) in HEALTH_PATHS:
            await self._at_once(scope, receive, send)
            return
        client = Client(scope, receive)
        try:  # noqa: SIM105 - each call comes here
            # By the decoded path: one that is only spelt otherwise is the gateway's to refuse.
            await (self._call if path.startswith(url_rules.ROOT) else self._page)(
                scope, client, send
            )
        except (ClientGone, RequestAborted):
            pass

    async def _call(self, scope: Any, client: Client, send: Send) -> None:
        """Forward what the view admits."""
        try:
            response = await self._admitted(scope, client)
        except Busy:
            _shed.add()
            response = problems.unavailable("busy", BUSY).response()
        except OSError as error:
            if not descriptors.are_exhausted(error):
                raise
            response = problems.unavailable("service_unavailable", TEXT).response()
        if isinstance(response, Admitted):
            if known := access_log.noted(scope):
                known.upstream = response.call.upstream.name
            call = response.call
            try:
                problem = await proxy.forward(call, client, send, _header_list(response))
                if problem is None:
                    return
                refusal = (await client_calls.settled(call, problem)).response()
                problems.carry(response, refusal)
                await cookies.renew(call.request, refusal)
            finally:  # An aborted call's request, session and tokens would wait for the collector.
                call.release()
            response = refusal
        await self.send_response(problems.replaced(response), send)

    async def _admitted(self, scope: Any, client: Client) -> HttpResponseBase:
        """Return what middleware and view answer to a call: in the event loop, if that can be."""
        seen = _seen(scope)
        passage = Passage(self, self.admission, seen, io.BytesIO())
        if not self.admission.is_known:
            return await self._calls.run(client, passage.in_thread)
        async with self._doors.place(client) as place, _session_of(seen) as content:
            if people().answers_for(content):
                try:
                    return passage.in_loop()
                except NeedsThread:
                    pass
            place.leave()  # Who waits for a thread holds up nobody who needs none.
            return await self._calls.run(client, passage.in_thread)

    async def _page(self, scope: Any, client: Client, send: Send) -> None:
        match = _match(scope)
        try:
            body = await PageBody(
                scope, client, match, lambda: self._is_staff(scope, client)
            ).read()
            response = await self._made(scope, client, body, match)
        except (Busy, RequestDataTooBig, TimeoutError, StoreUnavailable, OperationalError) as error:
            response = _refusal(error, scope)
        except OSError as error:
            if not descriptors.are_exhausted(error):
                raise
            response = _refusal(error, scope)
        await self.send_response(response, send)
        if response.streaming:
            response.close()

    async def _is_staff(self, scope: Any, client: Client) -> bool:
        """Return whether a staff member asks for a page; it is read in turn, as pages are."""
        seen = _seen(scope)
        if not staff.has_cookie(seen):
            return False
        async with self._pages.place(client):
            return await staff.is_staff(seen, self._pages.apart)

    async def _made(
        self, scope: Any, client: Client, body: io.BytesIO, match: ResolverMatch | None
    ) -> HttpResponseBase:
        """Return a page: in the event loop, if all that it waits for can be read ahead."""
        work = Passage(self, self.admission, scope, body).in_thread
        if match is not None and (match.url_name or "").startswith(CLIENTS):
            return await self._clients.choose(match.func, scope).run(client, work)
        if (provider := _provider_asked(match)) is not None:
            return await self._providers.run(client, work, provider=provider)
        if match is None or not page.is_own(match.func, scope["method"]):
            return await self._pages.run(client, work)
        seen = _seen(scope)
        is_short = len(scope.get("query_string", b"")) <= QUERY_IN_LOOP
        reads = page.reads_of(match.func, scope["method"]) if is_short else None
        if reads is None or not self.admission.is_known:
            return await self._of_person(seen, client, lambda _: self._pages.in_thread(work))
        passage = Passage(self, self.admission, seen, body)
        return await self._of_person(
            seen, client, lambda content: self._read_ahead(seen, passage, content, reads)
        )

    async def _of_person(self, seen: Any, client: Client, make: Making) -> HttpResponseBase:
        """Return a page that is its person's own, of which each has so many made at one time."""
        cookies = own_cookies.believed(seen)
        async with self._pages.place(client), ahead.session(cookies) as content:
            own = self._own_pages.place(content.get(SESSION_KEY), client)
            if own.take_at_once():
                client.start_work()
                try:
                    return await make(content)
                finally:
                    own.leave()
        # Who waits for an own page to be made holds up nobody else's. The session is read again.
        async with own, self._pages.place(client), ahead.session(cookies) as content:
            client.start_work()
            return await make(content)

    async def _read_ahead(
        self, seen: Any, passage: Passage, content: Content, reads: Mapping[str, page.Read]
    ) -> HttpResponseBase:
        """Return a page that reads what it shows ahead; in a thread where that is not all."""
        try:
            with suppress(NeedsThread):
                await page.read(seen, content, reads, self._pages.apart)
                return passage.in_loop()
        finally:
            page.drop(seen)  # What is done in a thread asks for everybody and everything.
        return await self._pages.in_thread(passage.in_thread)

    async def _at_once(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer who asks for health, without waiting in a line: busy must not look broken.

        Headers about a body are dropped, since nothing here reads one.
        """
        headers = [pair for pair in scope.get("headers", ()) if pair[0].lower() not in ABOUT_BODY]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        except (RequestDataTooBig, TimeoutError) as error:
            await self.send_response(_refusal(error, scope), send)

    async def read_body(self, receive: Receive) -> io.BytesIO:
        """Read the body of a health check, as large as any page's; Django asks for it.

        Raises RequestDataTooBig, TimeoutError and RequestAborted.
        """
        unknown: dict[str, Any] = {"headers": []}
        return await PageBody(unknown, Client(unknown, receive), None, _nobody).read()


async def _nobody() -> bool:
    return False


def _seen(scope: Any) -> Any:
    """Return a call's scope as Django sees it, without a body, and the whole one beside it."""
    headers = [pair for pair in own_cookies.counting(scope["headers"]) if pair[0] not in ABOUT_BODY]
    cookies = own_cookies.decode(headers)
    return {**scope, "headers": headers, own_cookies.SIFTED: cookies, admission.SCOPE: scope}


def _session_of(seen: Any) -> AbstractAsyncContextManager[Mapping[str, Any] | SessionBase]:
    """Return the reading of a call's session, which a client's token names or a cookie."""
    __traceback_hide__ = True
    offered = settings.AUTHORIZATION_SERVER and client_calls.offered(_path(seen))
    if offered:
        from gateway_site.forwarding.ahead import grant  # noqa: PLC0415 - not where none is let in

        if (token := grant.shown(seen)) is not None:
            return grant.session(seen, token, offered[0])
    return ahead.session(own_cookies.believed(seen))


def _refusal(error: Exception, scope: Any) -> HttpResponse:
    """Return an answer to what was refused before Django saw it."""
    match = _match(scope)
    view = match and match.func
    if isinstance(error, RequestDataTooBig | TimeoutError):
        status = HTTPStatus(413 if isinstance(error, RequestDataTooBig) else 408)
        own = problems.refused(view, status) if settings.AUTHORIZATION_SERVER else None
        response = own or _plain(status, f"{status} {status.phrase}", {})
    else:
        response = _unavailable(view, error)
    response.headers["Content-Length"] = str(len(response.content))
    return response


def _unavailable(view: object, error: Exception) -> HttpResponse:
    """Return the 503 as a program at a view of its own can read it, or anybody."""
    if not isinstance(error, Busy):
        return problems.not_now(view, TEXT) or unavailable()
    _shed.add()
    again = {"Retry-After": str(problems.RETRY_AFTER), "Cache-Control": "no-store"}
    return problems.not_now(view, BUSY) or _plain(503, BUSY, again)


def _plain(status: int, text: str, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain", headers=headers)


@cache
def gateway() -> GatewayHandler:
    """Return this process's handler."""
    return GatewayHandler()


def _provider_asked(match: ResolverMatch | None) -> str | None:
    """Return the name of the provider that a page will ask, as its address tells it."""
    if match is None:
        return None
    if match.func in ASK_A_PROVIDER:
        name: str = match.kwargs["provider_id"]
        return name
    return provider_asked_by(match.func)


def _match(scope: Any) -> ResolverMatch | None:
    try:
        return resolve(_path(scope))
    except Resolver404:
        return None


def _path(scope: Any) -> str:
    path: str = scope["path"]
    return path.removeprefix(get_script_prefix(scope).rstrip("/"))


def _header_list(response: Admitted) -> Headers:
    """Return what the middleware adds to an answer; the admitted response has no content."""
    pairs = [(name.lower().encode("ascii"), value) for name, value in response.items()]
    told = [(name, value.encode("latin-1")) for name, value in pairs if name not in OF_CONTENT]
    set_here = [cookie.OutputString().encode("latin-1") for cookie in response.cookies.values()]
    return told + [(b"set-cookie", value) for value in set_here]
