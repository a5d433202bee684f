"""One call of an upstream: request and answer pass through piece by piece, both ways.

An admitted call enters; the answer goes to the ASGI server, or a problem leaves. Neither
a thread nor a database connection is held meanwhile, and once an answer has begun, little
more than the two connections.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from django.http import HttpRequest

from gateway_site.edge.client import ANSWER_TIME, Client, ClientGone, Send
from gateway_site.edge.reports import Tally
from gateway_site.edge.trusted_proxies import Address, address
from gateway_site.forwarding import bearer, client_calls
from gateway_site.forwarding.bounds.concurrency_limit import Slots
from gateway_site.forwarding.bounds.person_calls import person_calls
from gateway_site.forwarding.bounds.within import within
from gateway_site.forwarding.call import Call
from gateway_site.forwarding.call_watch import Watched
from gateway_site.forwarding.redirects import locations
from gateway_site.forwarding.session_watch import SessionEnded, caller_of
from gateway_site.rules import cookies, url_rules
from gateway_site.rules.body import EMPTY, TAKES_BODY, Body
from gateway_site.rules.headers import Headers, joined, to_browser, to_upstream
from gateway_site.rules.problems import Problem, forbidden, signed_out, unavailable
from gateway_site.transport import upstream_client
from gateway_site.transport.failures import UpstreamFailed, UpstreamTimeout
from gateway_site.transport.http1 import Answer
from gateway_site.transport.places import Busy
from gateway_site.transport.request import request
from oauth import TokenSet
from oauth.provider import dpop

logger = logging.getLogger(__name__)

Content = AsyncGenerator[bytes, None]
Message = Mapping[str, Any]  # of ASGI

SESSION_CHECK = 60.0  # seconds between two looks at whether the session and its person stand
# nginx holds an answer back until it has a few KB of it.
# https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering
UNBUFFERED = (b"x-accel-buffering", b"no")
READER_TIMEOUT = ANSWER_TIME

slots = Slots()
_no_connection = Tally(logger, "%d calls found no free connection to their upstream.")


async def forward(call: Call, client: Client, send: Send, extra: Headers) -> Problem | None:
    """Make the call and pass on its answer; return why it was not made.

    The answer gets the `extra` headers, a list that is emptied then. An answer that breaks off
    is left unfinished, so that the server aborts it: a clean end would tell the client that it
    has everything.
    """
    owner, exchange = call.owner, _Exchange(call, client, send, extra)
    caller = caller_of(call.request.session, owner.person)
    try:
        with (
            slots.taken(client_calls.bounded_as(call), call.upstream.max_concurrent),
            Watched(exchange.body.watch, lambda: caller.watch(SESSION_CHECK)),
        ):
            async with person_calls().place(owner, call.upstream):
                await exchange.run()
    except Problem as problem:
        return problem
    except SessionEnded:
        upstream_client.pool().end(owner.holder)
        return None if exchange.has_begun else signed_out()
    except ClientGone:
        pass
    return None


class _Exchange:
    """One request to an upstream, and its answer."""

    def __init__(self, call: Call, client: Client, send: Send, extra: Headers) -> None:
        self.call = call
        self.upstream = call.upstream
        self.has_begun = False
        self.body = Body(client, call.framing, call.upstream.max_body)
        self._send = send
        self._extra = extra

    async def run(self) -> None:
        """Make the call and pass on the answer. Raises Problem unless one has begun."""
        answer = await self._answered()
        try:
            client_calls.refuse_unauthorized(self.call, answer.status)
            is_stream = _is_event_stream(answer)
            first = [await self._head(answer, is_stream=is_stream)]
            patience = self.upstream.stream_timeout if is_stream else self.upstream.read_timeout
            self._release(answer)
            await self._pass_on(first, answer, patience)
        finally:
            answer.close()

    async def _answered(self) -> Answer:
        """Return the answer, of a further call where the upstream did not take the token."""
        headers, token = self._headers(), await self._token()
        answer = await self._attempt(headers, token, self.body.pieces())
        self.body.end()
        if answer.status == 401:
            answer = await self._with_nonce(headers, token, answer)
        if answer.status == 401 and self.body.can_replay:
            answer = await self._with_another_token(headers, token, answer)
        return answer

    async def _with_nonce(self, headers: Headers, token: TokenSet, answer: Answer) -> Answer:
        """Return the answer to a proof with the nonce that the last one lacked, if it did."""
        nonce = _demanded_nonce(token, answer)
        if nonce is None:
            return answer
        answer.close()
        if not self.body.can_replay:
            raise unavailable("nonce_required", "The upstream asks for the call once more.")
        return await self._attempt(headers, token, self.body.replay(), nonce)

    async def _with_another_token(
        self, headers: Headers, refused: TokenSet, answer: Answer
    ) -> Answer:
        """Return the answer to a token that is newer than the refused one, if there is any."""
        try:
            token = await self._token(refused=refused)
        except BaseException:
            answer.close()
            raise
        if token.access_token == refused.access_token:
            return answer
        answer.close()
        return await self._attempt(headers, token, self.body.replay())

    def _headers(self) -> Headers:
        """Return what goes to the upstream, but for `Authorization`."""
        call, came = self.call, self.call.request
        empty = EMPTY if call.method in TAKES_BODY else []
        return [
            *to_upstream(
                call.headers,
                self.upstream.request_headers,
                host=came.get_host(),
                scheme=came.scheme or "https",
                prefix=call.script_name + url_rules.ROOT + self.upstream.name,
                client=_client(came) if self.upstream.client_address else None,
            ),
            *(self.body.framing or empty),
        ]

    async def _token(self, refused: TokenSet | None = None) -> TokenSet:
        """Return the person's token, if its groups may call this upstream. Raises Problem."""
        request, provider = self.call.request, self.upstream.provider
        held = await bearer.access_token(request, provider, refused=refused)
        if not self.upstream.allows(held.groups):
            raise forbidden(provider)
        return held

    async def _attempt(
        self, headers: Headers, token: TokenSet, content: Content, nonce: str | None = None
    ) -> Answer:
        """Return the answer once its headers are there; ``nonce`` is what a proof was to have."""
        call, is_bound = self.call, token.dpop_key is not None
        nonce = nonce or (dpop.nonces.of(call.target) if is_bound else None)
        shown = bearer.authorization(token, call.method, call.target, nonce)
        try:
            asked = request(self.upstream, call.method, call.target, [*headers, *shown], content)
            answer = await upstream_client.ask(call.owner, self.upstream, asked)
        except url_rules.PathRefused as refused:
            raise Problem(400, "bad_path", str(refused)) from None
        except Busy:
            _no_connection.add()
            raise unavailable("busy", "Too many calls are open.") from None
        except UpstreamFailed as error:
            self._log(error)
            raise _failure(error) from None
        if is_bound:
            dpop.nonces.remember(call.target, _told_nonce(answer))
        return answer

    async def _head(self, answer: Answer, *, is_stream: bool) -> Message:
        """Return the head of the answer, as it goes to the client."""
        status, came = answer.status, answer.headers
        told = client_calls.told(self.call, to_browser(came, status))
        headers = [*told, *locations(self.call, status, came)]
        if is_stream:
            headers.append(UNBUFFERED)
        extra = self._extra
        if self.call.request.session.modified:
            extra = await cookies.renewed(self.call.request, extra)
        headers += _without(extra, headers)
        return {"type": "http.response.start", "status": status, "headers": headers}

    def _release(self, answer: Answer) -> None:
        """Let go of all that a stream does not need, whoever else has it still."""
        self.call.release()
        self.body.drop()
        self._extra.clear()
        answer.headers.clear()

    async def _pass_on(self, first: list[Message], answer: Answer, patience: float) -> None:
        """Hand over what comes first, and the body; one that breaks off is left unfinished.

        The next piece of it is waited for so many seconds. Raises ClientGone if the client takes
        nothing for too long.
        """
        self.has_begun = True
        more = not answer.is_there
        try:
            if not more:
                first.append(_body(answer.rest(), more=False))
            await within(READER_TIMEOUT, self._hand_over(first))
            while more:
                piece = await answer.piece(patience)
                more = not answer.has_ended
                await within(READER_TIMEOUT, self._send(_body(piece, more=more)))
        except UpstreamFailed as error:
            self._log(error)
        except TimeoutError:
            raise ClientGone from None

    async def _hand_over(self, messages: list[Message]) -> None:
        """Give the server parts of the answer, which the list is rid of: a stream keeps no head."""
        while messages:
            await self._send(messages.pop(0))

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


def _demanded_nonce(token: TokenSet, answer: Answer) -> str | None:
    """Return the nonce that the proof lacked, if it was that (RFC 9449 section 9)."""
    if token.dpop_key is None or answer.status != 401:
        return None
    is_demanded = dpop.DEMAND in joined(answer.headers, b"www-authenticate")
    return dpop.usable(_told_nonce(answer)) if is_demanded else None


def _told_nonce(answer: Answer) -> str | None:
    return joined(answer.headers, dpop.NONCE.lower().encode("ascii")) or None


def _body(piece: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


def _is_event_stream(answer: Answer) -> bool:
    kind = joined(answer.headers, b"content-type").partition(";")[0]
    return kind.strip().lower() == "text/event-stream"


def _without(extra: Headers, headers: Headers) -> Headers:
    """Leave out what is set already; several cookies may be among the rest."""
    names = {name for name, _ in headers}
    return [(name, value) for name, value in extra if name not in names]


def _failure(error: UpstreamFailed) -> Problem:
    if isinstance(error, UpstreamTimeout):
        return Problem(504, "upstream_timeout", "The upstream did not answer in time.")
    return Problem(502, "upstream_failed", "The upstream could not be reached, or failed.")
