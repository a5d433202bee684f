"""One call of an upstream: request and answer pass through piece by piece, both ways.

An admitted call enters; the answer goes to the ASGI server, or a problem leaves. Neither
a thread nor a database connection is held meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, cast

import httpx2
from django import db
from django.http import HttpRequest

from gateway_site.edge.asgi import Receive, Send
from gateway_site.edge.listening import ANSWER_TIME, ClientGone
from gateway_site.edge.trusted_proxies import Address, address
from gateway_site.forwarding import bearer, client_calls
from gateway_site.forwarding.call import Call
from gateway_site.forwarding.concurrency_limit import Slots
from gateway_site.forwarding.redirects import locations
from gateway_site.forwarding.session_watch import stands, watchers
from gateway_site.rules import cookies, url_rules
from gateway_site.rules.body import TAKES_BODY, Body
from gateway_site.rules.headers import Headers, to_browser, to_upstream
from gateway_site.rules.problems import Problem, forbidden, signed_out, unavailable
from gateway_site.transport import upstream_client
from gateway_site.transport.connections import Busy
from oauth import TokenSet
from oauth.provider import dpop
from sessions_kms import StoreUnavailable

logger = logging.getLogger(__name__)

Content = AsyncGenerator[bytes, None]

SESSION_CHECK = 60.0  # seconds between two looks at whether the session and its person stand
# nginx holds an answer back until it has a few KB of it.
# https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering
UNBUFFERED = (b"x-accel-buffering", b"no")
READER_TIMEOUT = ANSWER_TIME

slots = Slots()


class SessionEnded(Exception):
    """The session under which a call was admitted stands no longer, or its person is inactive."""


async def forward(call: Call, receive: Receive, send: Send, extra: Headers) -> Problem | None:
    """Make the call and pass on its answer, with `extra` headers; return why it was not made.

    An answer that breaks off is left unfinished, so that the server aborts it: a clean end
    would tell the client that it has everything.
    """
    try:
        with slots.taken(client_calls.bounded_as(call), call.upstream.max_concurrent):
            return await _watched(_Exchange(call, receive, send, extra))
    except Problem as problem:
        return problem


async def _watched(exchange: _Exchange) -> Problem | None:
    """Run an exchange until it ends, its client goes or its session ends."""
    problem = None
    try:
        async with asyncio.TaskGroup() as tasks:
            watchers = [
                tasks.create_task(exchange.body.watch()),
                tasks.create_task(_watch_session(exchange.call)),
            ]
            try:
                await exchange.run()
            except Problem as raised:
                problem = raised
            for watcher in watchers:
                watcher.cancel()
    except* SessionEnded:
        upstream_client.pool().end(exchange.call.owner.holder)
        problem = None if exchange.has_begun else signed_out()
    except* ClientGone:
        pass
    return problem


async def _watch_session(call: Call) -> None:
    """Raise SessionEnded when the call would not be admitted again.

    It is asked now and then, and when its person has changed. Not being able to tell is no reason.
    """
    person = call.owner.person
    with watchers.of(person) as changed:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SESSION_CHECK):
                    await changed.wait()
            changed.clear()
            with suppress(StoreUnavailable, db.Error):
                if not await stands(call.request, person):
                    raise SessionEnded


class _Exchange:
    """One request to an upstream, and its answer."""

    def __init__(self, call: Call, receive: Receive, send: Send, extra: Headers) -> None:
        self.call = call
        self.upstream = call.upstream
        self.has_begun = False
        self.body = Body(receive, call.framing, call.upstream.max_body)
        self._send = send
        self._extra = extra
        request = call.request
        self._headers = to_upstream(
            call.headers,
            self.upstream.request_headers,
            host=request.get_host(),
            scheme=request.scheme or "https",
            prefix=call.script_name + url_rules.ROOT + self.upstream.name,
            client=_client(request) if self.upstream.client_address else None,
        )
        self._framing = self.body.framing or (
            [(b"content-length", b"0")] if call.method in TAKES_BODY else []
        )

    async def run(self) -> None:
        """Make the call and pass on the answer. Raises Problem unless one has begun."""
        first = await self._token()
        answer = await self._attempt(first, self.body.pieces())
        self.body.end()
        try:
            if (nonce := _demanded_nonce(first, answer)) is not None:
                if not self.body.can_replay:
                    raise unavailable("nonce_required", "The upstream asks for the call once more.")
                await answer.aclose()
                answer = await self._attempt(first, self.body.replay(), nonce)
            if answer.status_code == 401 and self.body.can_replay:
                other = await self._token(refused=first)
                if other.access_token != first.access_token:
                    await answer.aclose()
                    answer = await self._attempt(other, self.body.replay())
            client_calls.refuse_unauthorized(self.call, answer.status_code)
            await self._pass_on(answer)
        finally:
            await answer.aclose()

    async def _token(self, refused: TokenSet | None = None) -> TokenSet:
        """Return the person's token, if its groups may call this upstream. Raises Problem."""
        request, provider = self.call.request, self.upstream.provider
        held = await bearer.access_token(request, provider, refused=refused)
        if not self.upstream.allows(held.groups):
            raise forbidden(provider)
        return held

    async def _attempt(
        self, token: TokenSet, content: Content, nonce: str | None = None
    ) -> httpx2.Response:
        """Return the answer once its headers are there; ``nonce`` is what a proof was to have."""
        target = self.call.target
        nonce = nonce or dpop.nonces.of(target)
        headers = [
            *self._headers,
            *self._framing,
            *bearer.authorization(token, self.call.method, target, nonce),
        ]
        try:
            async with asyncio.timeout(None) as deadline:
                pieces = _then(content, lambda: _start(deadline, self.upstream.read_timeout))
                request = upstream_client.request(
                    self.upstream, self.call.method, self.call.target, headers, pieces
                )
                answer = await upstream_client.ask(self.call.owner, self.upstream, request)
        except url_rules.PathRefused as refused:
            raise Problem(400, "bad_path", str(refused)) from None
        except (httpx2.HTTPError, Busy, TimeoutError) as error:
            self._log(error)
            raise _failure(error) from None
        if token.dpop_key is not None:
            dpop.nonces.remember(target, answer.headers.get(dpop.NONCE))
        if not 200 <= answer.status_code <= 599:
            await answer.aclose()
            raise _bad_gateway()
        return answer

    async def _pass_on(self, answer: httpx2.Response) -> None:
        came = answer.headers.raw
        status = answer.status_code
        told = client_calls.told(self.call, to_browser(came, status))
        headers = [*told, *locations(self.call, status, came)]
        if _is_event_stream(answer):
            headers.append(UNBUFFERED)
        extra = await cookies.renewed(self.call.request, self._extra)
        self.has_begun = True
        await self._hand_over(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *_without(extra, headers)],
            }
        )
        try:
            await self._stream(answer)
        except (httpx2.HTTPError, TimeoutError) as error:
            self._log(error)
        else:
            await self._hand_over({"type": "http.response.body", "body": b""})

    async def _stream(self, answer: httpx2.Response) -> None:
        events = _is_event_stream(answer)
        patience = self.upstream.stream_timeout if events else self.upstream.read_timeout
        stream = aiter(cast("httpx2.AsyncByteStream", answer.stream))
        while True:
            async with asyncio.timeout(patience):
                piece = await anext(stream, None)
            if piece is None:
                return
            await self._hand_over({"type": "http.response.body", "body": piece, "more_body": True})

    async def _hand_over(self, message: Mapping[str, Any]) -> None:
        """Give the server a part of the answer. Raises ClientGone if it takes none for too long."""
        try:
            async with asyncio.timeout(READER_TIMEOUT):
                await self._send(message)
        except TimeoutError:
            raise ClientGone from None

    def _log(self, error: Exception) -> None:
        # The kind alone: a message may repeat what was sent, the token included.
        logger.warning(
            'Upstream %s at %s failed: %s. docs/operations.md, "Upstream down", says what to do.',
            self.upstream.name,
            self.upstream.origin,
            type(error).__name__,
        )


def _client(request: HttpRequest) -> Address | None:
    """Return who calls; None where that is not known, as behind a Unix socket."""
    return address(request.META.get("REMOTE_ADDR") or "")


async def _then(content: Content, do: Callable[[], None]) -> Content:
    async with aclosing(content):
        async for piece in content:
            yield piece
    do()


def _start(deadline: asyncio.Timeout, seconds: float) -> None:
    deadline.reschedule(asyncio.get_running_loop().time() + seconds)


def _demanded_nonce(token: TokenSet, answer: httpx2.Response) -> str | None:
    """Return the nonce that the proof lacked, if it was that (RFC 9449 section 9)."""
    challenge = answer.headers.get("www-authenticate", "")
    if token.dpop_key is None or answer.status_code != 401 or dpop.DEMAND not in challenge:
        return None
    return dpop.usable(answer.headers.get(dpop.NONCE))


def _is_event_stream(answer: httpx2.Response) -> bool:
    kind: str = answer.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "text/event-stream"


def _without(extra: Headers, headers: Headers) -> Headers:
    """Leave out what is set already; several cookies may be among the rest."""
    names = {name for name, _ in headers}
    return [(name, value) for name, value in extra if name not in names]


def _failure(error: Exception) -> Problem:
    if isinstance(error, Busy):
        return unavailable("busy", "Too many calls are open.")
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return Problem(504, "upstream_timeout", "The upstream did not answer in time.")
    return _bad_gateway()


def _bad_gateway() -> Problem:
    return Problem(502, "upstream_failed", "The upstream could not be reached, or failed.")
