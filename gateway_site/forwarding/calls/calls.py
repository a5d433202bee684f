"""A call of an upstream, step by step.

The order of the checks is that of the statements here: `Calls._take_steps` (host and scheme; who
calls), `Calls._check` (CSRF and origin; address; user), `admission.admit` (what needs only the
request: upstream, path, query, method, framing of the body), `make_call` (how many calls are open)
and `_exchange` (rates; the upstream's token, with which the user's groups come; rules; the visit;
the exchange). The router has made room for the audit event before. A new check that needs no I/O
belongs into `_check` or `admission`, one that waits or needs the groups into `_exchange`. Django's
own code does what it does for pages: the CSRF check, security headers, the session's cookie, the
user of a session. But `MIDDLEWARE` does not see calls: `middleware_check` rejects entries that
might be meant for them.

All steps run in the event loop. These take a thread: querying a user who is not cached, saving a
browser's session with Django's code and setting its cookie, reporting an error, receivers of a
project, reading large MCP messages (`mcp.reading_threads`), and looking every minute whether the
user of an open call is active (`watch`). An open stream holds none.
"""

import io
from http.cookies import SimpleCookie
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from django.urls import set_script_prefix

from gateway_site.edge import access_log, own_cookies
from gateway_site.edge.client import Client, ClientGone, Send
from gateway_site.edge.middleware import use_public_host
from gateway_site.forwarding.calls import admission, upstream_token
from gateway_site.forwarding.calls.caller import (
    CHALLENGE,
    CLIENT_SCHEMES,
    ActiveUsers,
    Caller,
    find_caller,
    grant_challenge,
)
from gateway_site.forwarding.calls.exchange import Exchange
from gateway_site.forwarding.calls.failures import CsrfCheck, failure_response
from gateway_site.forwarding.calls.limits import (
    CallerSlots,
    limit_rate,
    limit_tool_rate,
    user_calls,
)
from gateway_site.forwarding.calls.middleware_check import check_middleware
from gateway_site.forwarding.calls.response_headers import (
    OwnHeaders,
    renew_session_cookie,
    session_cookies,
)
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.forwarding.calls.watch import SessionEnded, WatchedBlock, watch_session
from gateway_site.forwarding.error_pages import ErrorPages
from gateway_site.forwarding.fixed_headers import fixed_headers
from gateway_site.forwarding.request import BODY_HEADERS, never_called, release_request, send_signal
from gateway_site.forwarding.thread_pools import (
    BUSY,
    FairSemaphore,
    Permit,
    QueueTimeout,
    shed,
)
from gateway_site.rules import origin, problems, url_rules
from gateway_site.rules.headers import Headers
from gateway_site.rules.problems import Problem, signed_out
from gateway_site.transport import upstream_client
from sessions_kms import SessionStore, about, ahead, outages, user_id_of

# Calls that are admitted at the same time. Of a thousand that arrive at once the first is on its
# way to its upstream before the last is looked at, and no timeout measures how busy the event loop
# is.
ADMISSIONS = 32
SESSION_CHECK = 60.0  # seconds between two checks of the session and its user
ROUTE, INDEX_ROUTE = "gateway/<path:path>", "gateway/"  # in the metrics

Admitted = tuple[UpstreamCall, OwnHeaders]
slots = CallerSlots()


class Calls:
    """Serves calls: makes those that are admitted, and rejects all others."""

    def __init__(self, handler: ASGIHandler, error_pages: ErrorPages) -> None:
        check_middleware()
        self._handler = handler
        self._error_pages = error_pages
        self._admissions = FairSemaphore(ADMISSIONS)
        self._users = ActiveUsers()
        self._security = SecurityMiddleware(never_called)
        self._csrf = CsrfCheck(never_called)
        self._fixed_headers = fixed_headers()

    async def serve(self, scope: Any, client: Client, send: Send) -> None:
        """Serve one call. Raises ClientGone."""
        result: Admitted | HttpResponse | None
        try:
            result = await self._admit(scope, client)
        except QueueTimeout:
            shed.add()
            result = problems.unavailable("busy", BUSY).response()
        if isinstance(result, tuple):
            result = await _forward(*result, client, send)
        if result is not None:
            response = await self._error_pages.choose(scope, client, result)
            await self._handler.send_response(response, send)

    async def _admit(self, scope: Any, client: Client) -> Admitted | HttpResponse:
        """Return the call that may be made, or a response. Raises QueueTimeout, ClientGone."""
        async with self._admissions.permit(client) as permit:
            set_script_prefix(get_script_prefix(scope))
            try:
                await send_signal(signals.request_started, scope=scope)
                request, response = self._make_request(scope)
                if request is None:
                    return problems.as_problem(response)
                return await self._take_steps(request, scope, client, permit)
            finally:
                await send_signal(signals.request_finished)

    def _make_request(self, scope: Any) -> tuple[HttpRequest | None, HttpResponse]:
        """Return Django's request, without the body; or the response to a malformed one."""
        headers = [
            pair
            for pair in own_cookies.keep_own_cookies(scope["headers"])
            if pair[0] not in BODY_HEADERS
        ]
        request, response = self._handler.create_request(
            {**scope, "headers": headers}, io.BytesIO()
        )
        if request is not None:
            request.COOKIES = own_cookies.decode_cookies(headers)
            access_log.note_request(request)
            if entry := access_log.entry_of(scope):
                entry.route = INDEX_ROUTE if request.path_info == url_rules.ROOT else ROUTE
        return request, cast("HttpResponse", response)

    async def _take_steps(
        self, request: HttpRequest, scope: Any, client: Client, permit: Permit
    ) -> Admitted | HttpResponse:
        """Take the steps; turn errors into responses, and add what each response carries."""
        caller: Caller | None = None
        with ahead.bounded(), ahead.keys_of(request) as keys:
            try:
                result: UpstreamCall | HttpResponse | None = self._check_host_and_scheme(request)
                if result is None:
                    caller = await find_caller(request)
                    result = await self._check(request, caller, scope, client, permit)
            except (QueueTimeout, ClientGone):
                raise
            except Exception as error:  # noqa: BLE001 - whatever fails gets a response, as from Django
                result = await failure_response(request, caller, error)
            try:
                cookies = await session_cookies(request, caller, _status(result), self._csrf)
            except Exception as error:  # noqa: BLE001 - as above
                result, cookies = await failure_response(request, caller, error), SimpleCookie()
            headers = OwnHeaders.of(self._fixed_headers, request, caller, cookies, keys)
        if _status(result) < 500:
            outages.note_served(request)
        if isinstance(result, UpstreamCall):
            return result, headers
        _add_challenge(request, caller, result)
        headers.add_to(result)
        release_request(request)
        return result

    def _check_host_and_scheme(self, request: HttpRequest) -> HttpResponse | None:
        """Return a redirect to https, a 403 for a user agent, or None. Raises DisallowedHost."""
        agent = request.META.get("HTTP_USER_AGENT", "")
        if any(each.search(agent) for each in settings.DISALLOWED_USER_AGENTS):
            return problems.as_problem(HttpResponse(status=403))  # as Django's CommonMiddleware
        use_public_host(request)
        return cast("HttpResponse | None", self._security.process_request(request))

    async def _check(
        self, request: HttpRequest, caller: Caller, scope: Any, client: Client, permit: Permit
    ) -> UpstreamCall | HttpResponse:
        """Return the call that may be made, or a response. Raises Problem, and what fails."""
        if caller.grant is None and (rejection := await self._check_csrf(request)) is not None:
            return rejection
        origin.check_origin(request)
        if request.path_info == url_rules.ROOT:
            return await self._index(request, caller, scope, client, permit)
        address = admission.split_address(scope)
        user_id = await self._users.find(request, client, permit)
        _log_caller(scope, caller, user_id)
        if user_id is None:
            return admission.signed_out_response(request, caller)
        return admission.admit(request, caller, scope, user_id, address)

    async def _index(
        self, request: HttpRequest, caller: Caller, scope: Any, client: Client, permit: Permit
    ) -> HttpResponse:
        """Return the index, or the response to somebody who is signed out. Raises Problem."""
        admission.check_index_method(request)
        user = await self._users.find_user(request, client, permit)
        _log_caller(scope, caller, None if user is None else user_id_of(user))
        if user is None:
            return admission.signed_out_response(request, caller)
        return admission.index(request, user)

    async def _check_csrf(self, request: HttpRequest) -> HttpResponse | None:
        """Return the rejection of a request that another site may have caused, or None."""
        if settings.CSRF_USE_SESSIONS:
            await request.session.aget(SESSION_KEY)  # reads the session, which has the secret
        self._csrf.process_request(request)
        return cast("HttpResponse | None", self._csrf.process_view(request, never_called, (), {}))


async def _forward(
    call: UpstreamCall, headers: OwnHeaders, client: Client, send: Send
) -> HttpResponse | None:
    """Make the call and forward its response; return another response if there was none."""
    if entry := access_log.current_entry():
        entry.upstream = call.upstream.name
    try:
        rejection = await make_call(call, client, send, headers.encoded())
        if rejection is None:
            return None
        if isinstance(rejection, Problem):
            problem = await upstream_token.settle_problem(call, rejection)
            rejection = upstream_token.redirect_to_connect(call, problem) or problem.response()
        headers.add_to(rejection)
        await renew_session_cookie(call.request, call.caller, rejection)
        return rejection
    finally:  # Otherwise an aborted call's session and tokens wait for the collector.
        call.release()


async def make_call(
    call: UpstreamCall, client: Client, send: Send, extra: Headers
) -> Problem | HttpResponse | None:
    """Make the call within its limits; return what else to respond if no response has started.

    The response gets the `extra` headers, a list that is then emptied. A response that breaks off
    is left unfinished, so that the server aborts it: a clean end would tell the client that it has
    everything.
    """
    owner, exchange = call.owner, Exchange(call, client, send, extra)
    watch = watch_session(call.caller.session, owner.person)
    try:
        with (
            slots.take(call.concurrency_key, call.upstream.max_concurrent),
            WatchedBlock(exchange.body.watch, lambda: watch.watch(SESSION_CHECK)),
        ):
            async with user_calls().place(owner, call.upstream):
                await _exchange(call, exchange)
    except Problem as problem:
        return problem
    except SessionEnded:
        upstream_client.pool().end(owner.holder)
        return None if exchange.has_begun else signed_out()
    except ClientGone:
        pass
    except Exception as error:
        if exchange.has_begun:
            raise
        return await failure_response(call.request, call.caller, error)
    return None


async def _exchange(call: UpstreamCall, exchange: Exchange) -> None:
    """Take the steps of an admitted call. Raises Problem unless a response has started."""
    if (mcp := exchange.mcp) is None:
        limit_rate(call, None)
    else:
        await mcp.receive()
        limit_rate(call, mcp.message, is_unread=mcp.is_unread)
    token, groups = await upstream_token.fetch_token(call)
    if mcp is not None:
        if mcp.is_unread:
            await mcp.read()
            limit_tool_rate(call, mcp.message)
        mcp.admit(groups)
    await cast("SessionStore", call.caller.session).avisit()
    await exchange.run(token, groups)


def _add_challenge(request: HttpRequest, caller: Caller | None, response: HttpResponse) -> None:
    """Tell a client to get a token, where clients may call."""
    if response.status_code == 401 and not response.get(CHALLENGE, "").startswith(CLIENT_SCHEMES):
        challenge = grant_challenge(request.path_info, None if caller is None else caller.grant)
        if challenge is not None:
            response[CHALLENGE] = challenge


def _log_caller(scope: Any, caller: Caller, user_id: str | None) -> None:
    """Tell the access log who called."""
    if (entry := access_log.entry_of(scope)) is None:
        return
    entry.user = access_log.UNKNOWN if user_id is None else user_id
    if caller.grant is not None:
        entry.client = caller.grant.labels.get(about.CLIENT_ID, access_log.UNKNOWN)


def _status(result: UpstreamCall | HttpResponse) -> int:
    return result.status_code if isinstance(result, HttpResponse) else 200
