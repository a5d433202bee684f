"""The exchange with an upstream: request and response pass through piece by piece.

An admitted call enters with its token; its response goes to the ASGI server. No thread and no
database connection is held meanwhile, and once a response has started, little more than the two
network connections.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any

from gateway_site.edge.access_log import UNKNOWN, LogEntry, current_entry
from gateway_site.edge.client import RESPONSE_TIME, Client, ClientGone, Send
from gateway_site.edge.http_metrics import TimedCall, open_stream
from gateway_site.edge.reports import Tally
from gateway_site.edge.trusted_proxies import parse_address
from gateway_site.forwarding.calls import upstream_token
from gateway_site.forwarding.calls.event_stream import (
    EventStream,
    StreamCut,
    UpstreamResponse,
    has_readable_events,
    is_event_stream,
)
from gateway_site.forwarding.calls.mcp.reader import MCPReader
from gateway_site.forwarding.calls.mcp.responses import UnreadableResponse
from gateway_site.forwarding.calls.response_addresses import rewrite_addresses
from gateway_site.forwarding.calls.response_headers import with_session_cookie
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.forwarding.calls.upstream_token import Credential
from gateway_site.rules import url_rules
from gateway_site.rules.body import EMPTY_BODY, TAKES_BODY, RequestBody
from gateway_site.rules.bounded_wait import wait_bounded
from gateway_site.rules.headers import Headers, joined_values, request_headers, response_headers
from gateway_site.rules.problems import Problem, unavailable
from gateway_site.transport import upstream_client
from gateway_site.transport.connection import Response
from gateway_site.transport.failures import UpstreamFailed, UpstreamTimeout
from gateway_site.transport.messages import build_request
from gateway_site.transport.places import Busy
from oauth import TokenSet
from oauth.provider import dpop
from sessions_kms.hints import page

logger = logging.getLogger(__name__)

Content = AsyncGenerator[bytes, None]
Message = Mapping[str, Any]  # of ASGI
Groups = tuple[str, ...]

# nginx buffers a response until it has a few KB of it.
# https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering
UNBUFFERED = (b"x-accel-buffering", b"no")
READER_TIMEOUT = RESPONSE_TIME
REMEDY = page("operations", "Upstream down")  # here: it reads metadata from the disk

_no_connection = Tally(
    logger, "%d calls were answered 503: no connection to the upstream was free."
)


class Exchange:
    """One request to an upstream, and its response."""

    def __init__(self, call: UpstreamCall, client: Client, send: Send, extra: Headers) -> None:
        self.call = call
        self.upstream = call.upstream
        self.has_begun = False
        self.body = RequestBody(client, call.framing, call.upstream.max_body)
        self.mcp = MCPReader.of(call, self.body)  # None if messages are not read
        self._shutdown = client.shutdown
        self._send = send
        self._extra = extra

    async def run(self, token: Credential, groups: Groups) -> None:
        """Make the call and forward the response. Raises Problem unless a response has started.

        Rules have admitted the call for these groups.
        """
        response: UpstreamResponse = await self._fetch(token, groups)
        try:
            if response.status == 401 and self.call.is_client:
                # The client would think that its own token has ended.
                detail = "The upstream does not accept the token."
                raise Problem(502, "upstream_unauthorized", detail)
            if response.status == 403 and self.upstream.mcp:
                await upstream_token.require_scope(self.call, response.headers)
            if self.mcp is not None:
                response = await self._read_mcp(self.mcp, response)
            is_stream, has_events = is_event_stream(response), has_readable_events(response)
            first = [await self._response_start(response, is_stream=is_stream)]
            piece_timeout = (
                self.upstream.stream_timeout if is_stream else self.upstream.read_timeout
            )
            self._release(response)
            if has_events and not response.is_complete:
                await self._stream_events(first, response, piece_timeout)
            else:
                await self._stream(first, response, piece_timeout)
        finally:
            response.close()

    async def _fetch(self, token: Credential, groups: Groups) -> Response:
        """Return the response; try again if the upstream did not accept the token."""
        headers = self._request_headers()
        content = self.body.pieces() if self.mcp is None else self.body.replay()
        response = await self._send_request(headers, token, content)
        self.body.end()
        if self.upstream.identity is not None or not isinstance(token, TokenSet):
            return response
        if response.status == 401:
            response = await self._retry_with_nonce(headers, token, response)
        if response.status == 401 and self.body.can_replay:
            response = await self._retry_with_new_token(headers, token, groups, response)
        return response

    async def _read_mcp(self, mcp: MCPReader, response: UpstreamResponse) -> UpstreamResponse:
        """Return the response with its messages read. Raises Problem."""
        try:
            return await mcp.read_response(response)
        except UnreadableResponse as error:
            self._log(error)
            raise mcp.problem_of(error) from None
        except UpstreamFailed as error:
            self._log(error)
            raise _problem_of(error) from None

    async def _retry_with_nonce(
        self, headers: Headers, token: TokenSet, response: Response
    ) -> Response:
        """Try again with the nonce that the upstream demands, if it does."""
        nonce = _demanded_nonce(token, response)
        if nonce is None:
            return response
        response.close()
        if not self.body.can_replay:
            raise unavailable("nonce_required", "The upstream requires the call to be repeated.")
        return await self._send_request(headers, token, self.body.replay(), nonce)

    async def _retry_with_new_token(
        self, headers: Headers, refused: TokenSet, groups: Groups, response: Response
    ) -> Response:
        """Try again with a newer token than the rejected one, if there is one.

        Rules that have admitted the call may decide otherwise about other groups.
        """
        try:
            token, new_groups = await upstream_token.fetch_token(self.call, refused=refused)
        except BaseException:
            response.close()
            raise
        is_admitted = self.upstream.policy_file is None or set(new_groups) == set(groups)
        is_same = isinstance(token, TokenSet) and token.access_token == refused.access_token
        if is_same or not is_admitted:
            return response
        response.close()
        return await self._send_request(headers, token, self.body.replay())

    def _request_headers(self) -> Headers:
        """Return the upstream's request headers, without `Authorization`."""
        call, came = self.call, self.call.request
        client = parse_address(came.META.get("REMOTE_ADDR") or "")  # None behind a Unix socket
        empty = EMPTY_BODY if call.method in TAKES_BODY else []
        headers = [
            *request_headers(
                call.headers,
                self.upstream.request_headers,
                host=came.get_host(),
                scheme=came.scheme or "https",
                prefix=call.script_name + url_rules.ROOT + self.upstream.name,
                client=client if self.upstream.client_address else None,
            ),
            *(self.body.framing or empty),
        ]
        return headers if self.mcp is None else self.mcp.select_headers(headers)

    async def _send_request(
        self, headers: Headers, token: Credential, content: Content, nonce: str | None = None
    ) -> Response:
        """Return the response once its headers are there; `nonce` goes into the proof."""
        call = self.call
        is_bound = isinstance(token, TokenSet) and token.dpop_key is not None
        nonce = nonce or (dpop.nonces.of(call.target) if is_bound else None)
        shown = upstream_token.authorization_headers(call, token, nonce)
        timed = TimedCall(self.upstream.name, self.upstream.origin, call.method)
        entry = current_entry() or LogEntry(UNKNOWN)
        was_sent = entry.is_sent
        try:
            sent = build_request(
                self.upstream, call.method, call.target, [*headers, *shown], content
            )
            entry.is_sent = True
            response = await upstream_client.send(call.owner, self.upstream, sent)
            entry.upstream_status = response.status
            timed.note_response(response.status)
        except url_rules.UnsafeAddress as refused:
            raise Problem(400, "bad_path", str(refused)) from None
        except Busy:
            entry.is_sent = was_sent
            _no_connection.add()
            raise unavailable("busy", "Too many calls are open.") from None
        except UpstreamFailed as error:
            timed.failed(error)
            self._log(error)
            raise _problem_of(error) from None
        if is_bound:
            dpop.nonces.remember(call.target, _nonce_of(response))
        return response

    async def _response_start(self, response: UpstreamResponse, *, is_stream: bool) -> Message:
        """Return the start of the response as it goes to the client."""
        status, came = response.status, response.headers
        passed = _headers_for_caller(self.call, response_headers(came, status))
        headers = [*passed, *rewrite_addresses(self.call, status, came)]
        if is_stream:
            headers.append(UNBUFFERED)
        extra = self._extra
        if self.call.caller.session.modified:
            extra = await with_session_cookie(self.call.request, self.call.caller, extra)
        headers += _without(extra, headers)
        return {"type": "http.response.start", "status": status, "headers": headers}

    def _release(self, response: UpstreamResponse) -> None:
        """Drop everything that a stream does not need, even if others still refer to it."""
        self.call.release()
        self.body.stop_keeping()
        self._extra.clear()
        response.headers.clear()

    async def _stream_events(
        self, first: list[Message], response: UpstreamResponse, piece_timeout: float
    ) -> None:
        """Do the same as `_stream`, but end the events when the server stops."""
        has_result = self.call.method != "GET"
        events = EventStream(response, has_result=has_result)
        with (
            open_stream(self.upstream.name),
            self._shutdown.ending(events.end, has_result=has_result),
        ):
            await self._stream(first, events, piece_timeout)

    async def _stream(
        self, first: list[Message], response: UpstreamResponse | EventStream, piece_timeout: float
    ) -> None:
        """Send the first messages and the body; a response that breaks off is left unfinished.

        The next piece is awaited for so many seconds. Raises ClientGone if the client reads nothing
        for too long.
        """
        self.has_begun = True
        more = not response.is_complete
        try:
            if not more:
                first.append(_body(response.read_rest(), more=False))
            await wait_bounded(READER_TIMEOUT, self._send_all(first))
            while more:
                piece = await response.read_piece(piece_timeout)
                more = not response.has_ended
                await wait_bounded(READER_TIMEOUT, self._send(_body(piece, more=more)))
        except UpstreamFailed as error:
            self._log(error)
        except StreamCut:
            pass
        except TimeoutError:
            raise ClientGone from None

    async def _send_all(self, messages: list[Message]) -> None:
        """Send messages and remove them from the list, so that a stream keeps no headers."""
        while messages:
            await self._send(messages.pop(0))

    def _log(self, error: Exception) -> None:
        if (entry := current_entry()) is not None:
            entry.upstream_status = HTTPStatus.BAD_GATEWAY
        # Only the type: a message may repeat what was sent, the token included.
        logger.warning(
            "Upstream %s at %s failed: %s. %s says what to do.",
            self.upstream.name,
            self.upstream.origin,
            type(error).__name__,
            REMEDY,
        )


def _headers_for_caller(call: UpstreamCall, headers: Headers) -> Headers:
    """Return an upstream's headers as the caller may see them.

    The upstream's challenge would send a client elsewhere for a token.
    """
    if call.upstream.clients:
        headers = [
            (name, b"Authorization, " + value if name == b"vary" else value)
            for name, value in headers
        ]
    if not call.is_client:
        return headers
    return [pair for pair in headers if pair[0] != b"www-authenticate"]


def _demanded_nonce(token: TokenSet, response: Response) -> str | None:
    """Return the nonce that the upstream demands in a proof, if it does (RFC 9449 section 9)."""
    if token.dpop_key is None or response.status != 401:
        return None
    is_demanded = dpop.NONCE_REQUIRED in joined_values(response.headers, b"www-authenticate")
    return dpop.valid_nonce(_nonce_of(response)) if is_demanded else None


def _nonce_of(response: Response) -> str | None:
    return joined_values(response.headers, dpop.NONCE_HEADER.lower().encode("ascii")) or None


def _body(piece: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


def _without(extra: Headers, headers: Headers) -> Headers:
    """Leave out headers that are set already; several cookies may be among the rest."""
    names = {name for name, _ in headers}
    return [(name, value) for name, value in extra if name not in names]


def _problem_of(error: UpstreamFailed) -> Problem:
    if isinstance(error, UpstreamTimeout):
        return Problem(504, "upstream_timeout", "The upstream did not answer in time.")
    return Problem(502, "upstream_failed", "The upstream could not be reached, or failed.")
