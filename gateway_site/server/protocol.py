"""One client's connection: uvicorn's protocol on httptools, with limits on size, number and time.

It relies on private parts of uvicorn; therefore pyproject.toml pins the version, and
tests/gateway_site/server fail if they change.

A request that exceeds a limit never reaches the application. The time limit of a body is enforced
by the application (`gateway_site.rules.body`), so that it also applies under other servers. This
module enforces limits that the application cannot: on a head that does not arrive, a body that
nobody reads, a response that the client does not read, and the number of connections.
"""

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from gateway_site.edge import oauth_errors, trusted_proxies
from gateway_site.edge.client import BODY_KEY, RESPONSE_TIME, ReceivedBody, Scope
from gateway_site.edge.reports import Tally
from gateway_site.edge.shutdown import shutdown_of
from gateway_site.health.middleware import PATHS as HEALTH_PATHS
from gateway_site.health.readiness import draining
from gateway_site.rules import problems
from gateway_site.server import connections, rejections
from gateway_site.server.buffered_transport import BufferedTransport
from gateway_site.server.request_syntax import (
    HEAD_FIELDS,
    HEAD_SIZE,
    BadRequest,
    RequestLines,
    check_head,
    has_body,
    head_too_large,
)

logger = logging.getLogger(__name__)

HEAD_TIME = 10.0  # seconds, from the start of a connection or the next request's first byte
LAST_HEAD_TIME = 2.0  # seconds, from the stop of the server
PROGRESS_SIZE = 16 * 1024  # bytes of a response that a client must read within RESPONSE_TIME
LINGER = 2.0  # seconds to keep reading from a rejected client, so that it receives the response
# Bytes that are read and parsed at once; asyncio's default is four times as many.
READ_SIZE = 64 * 1024
PIPELINED = 16  # maximum number of requests that wait for an earlier response
RETRY_AFTER = b"5"  # seconds
NEVER = float("inf")

_rejected = Tally(logger, "%d requests were rejected before they reached the application.")


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a client, within the limits that the module describes."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None  # it would bypass these limits
        self.peer: str | None = None
        self._connections = connections.connections_of(server_state, config, self.loop)
        self._deadline = NEVER
        self._is_idle = False  # after the first request, without a byte of the next one
        self._request_lines = RequestLines()
        self._in_head = True  # also between two requests
        self._progress = False  # whether the last bytes ended a head or a message, or were a body's
        self._overhead = 0  # bytes since the last progress
        self._body_pieces: list[bytes] = []  # pieces of a body from the bytes that are being parsed
        self._may_keep_alive = True  # whether the connection outlives the current request
        self._ignores_input = False  # whether received bytes are dropped
        self._running: RequestResponseCycle | None = None
        self._unsent: tuple[float, int] | None = None  # since when, how many bytes
        # The counting key of the client of each current request, if a trusted proxy named it.
        self._clients: list[str | None] = []
        self._bodies: list[ReceivedBody | None] = []  # of the current requests

    # Called by uvicorn and asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        with suppress(AttributeError):  # uvloop's has none, and reads as much as asyncio
            transport.max_size = READ_SIZE  # type: ignore[attr-defined]  # of asyncio's own
        self._response_transport = BufferedTransport(transport, self.finish, self.loop)
        self._deadline = self.loop.time() + HEAD_TIME
        self.peer = connections.peer_key(self.client)
        if not self._connections.admit(self):
            self.app = health_only(self.app)
            self._may_keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        while self._clients:
            self._release_client()
        super().connection_lost(exc)
        if self._running is not None:  # uvicorn notifies only the latest request
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        # Otherwise protocol, transport and request form a cycle until garbage is collected.
        self._response_transport.close = self.transport.close

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            return
        if self._is_idle:
            self._is_idle = False
            self._deadline = self.loop.time() + HEAD_TIME
        self._progress = False
        try:
            for piece in self._request_lines.pieces(data):
                self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._close_after_response()  # The next bytes may be in the requested protocol.
        except BadRequest as rejection:
            self._reject(rejection)
        except httptools.HttpParserError as error:
            found = error.__context__
            self._body_pieces.clear()
            if not self._ignores_input:  # otherwise end_body has already sent a response
                self._reject(found if isinstance(found, BadRequest) else _malformed_request())
        else:
            self._add_body()
            if not self._ignores_input:  # otherwise end_body was called
                self._limit_overhead(data)

    def resume_writing(self) -> None:
        self._unsent = None
        super().resume_writing()

    def shutdown(self) -> None:
        self._response_transport.flush()
        self._may_keep_alive = False
        is_answered = self.cycle is None or self.cycle.response_complete
        if is_answered and not self._is_idle:
            # A request is on its way. The client cannot know that it would have to repeat it.
            self._deadline = min(self._deadline, self.loop.time() + LAST_HEAD_TIME)
        else:
            super().shutdown()
        shutdown_of(self.app_state).begin()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        # Callbacks of asyncio, and the previous request, run in the previous request's context.
        # https://github.com/python/cpython/issues/140947
        Context().run(super()._start_asgi_task, cycle, app)

    # Called by httptools

    def on_message_begin(self) -> None:
        if not self._request_lines.expects_request:
            raise _malformed_request()  # its first line was not checked
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which is dropped (RFC 9110 section 6.5.1)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > HEAD_FIELDS:
            raise head_too_large()

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        check_head(version, self.url, self.headers)
        self._request_lines.begin_body(self.headers)
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110 section 10.1.1
        if len(self.pipeline) >= PIPELINED:
            raise BadRequest(400, "Too many requests were pipelined.")
        if self.parser.should_upgrade() and has_body(self.headers):
            raise BadRequest(400, "No other protocol is spoken here.")  # httptools drops the body
        application = self.app
        if not self._count_client():
            self.app = health_only(application)
        self._begin_body()
        super().on_headers_complete()
        self.app = application
        if self.pipeline:  # uvicorn stops reading here, and would not see a disconnect
            self.flow.resume_reading()
        self._in_head = False
        self._progress = True
        self._deadline = NEVER
        self._connections.mark_busy(self)
        # The next request can only be parsed once the body of this one has arrived.
        # While draining, each response tells the client to send the next request elsewhere.
        self._may_keep_alive = (
            self._may_keep_alive and self.cycle.keep_alive and not draining.is_set()
        )
        self.cycle.keep_alive = False
        self.cycle.transport = self._response_transport  # type: ignore[assignment]  # it has the methods that are used

    def on_body(self, body: bytes) -> None:
        """Collect a piece: for one-byte chunks, uvicorn would copy the whole body each time."""
        self._body_pieces.append(body)

    def on_message_complete(self) -> None:
        self._add_body()
        if self._ignores_input:
            raise _body_evicted()
        self._in_head = True
        self._progress = True
        super().on_message_complete()
        self.url, self.headers = b"", []  # If the next request is malformed, it has none of these.
        if self._bodies and (counted := self._bodies[-1]) is not None:
            counted.complete()
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._may_keep_alive

    def on_response_complete(self) -> None:
        """Do the same as uvicorn without its timer: `check_timeouts` closes idle connections."""
        self._release_client()
        if self._running is not None:
            self._running.body = bytearray()  # the part that the application has not read
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._connections.mark_idle(self)
            if not self._ignores_input:  # Otherwise it closes after lingering.
                self._is_idle = True
                self._deadline = self.loop.time() + self.timeout_keep_alive

    # Called by ConnectionLimits and by requests

    def close_now(self) -> None:
        """Close at once."""
        self._response_transport.flush()
        self.transport.abort()

    def check_timeouts(self, now: float) -> None:
        """Close if the client has taken too long."""
        if self.flow.write_paused or self.transport.is_closing():
            self._check_response_progress(now)
        else:
            self._unsent = None
        if now >= self._deadline:
            self._deadline = NEVER
            if self._overhead and not self._ignores_input:
                self._reject(BadRequest(408, "The request did not arrive in time."))
            else:
                self.transport.close()

    def end_body(self) -> None:
        """End the last request, because its body or an earlier one takes too much memory."""
        self._ignores_input = True
        self._abort_request(_body_evicted())

    def finish(self) -> None:
        """Close after a response."""
        self._response_transport.flush()
        if self._in_head and not self._ignores_input:
            self.transport.close()
        else:
            self._linger()

    # Helpers

    def _add_body(self) -> None:
        """Pass the collected pieces of its body to the current request."""
        if self._body_pieces:
            self._progress = True
            body = b"".join(self._body_pieces)
            self._body_pieces.clear()
            super().on_body(body)
            if self._bodies and (counted := self._bodies[-1]) is not None:
                counted.add(len(body))

    def _count_client(self) -> bool:
        """Count the request for the client behind a trusted proxy; return False at its limit."""
        found = trusted_proxies.forwarded_client(self.client and self.client[0], self.headers)
        client = None if found is None else trusted_proxies.counting_key(found)
        has_share = client is None or self._connections.count_request(client)
        self._clients.append(client if has_share else None)
        return has_share

    def _release_client(self) -> None:
        if self._clients and (client := self._clients.pop(0)) is not None:
            self._connections.release_request(client)
        if self._bodies and (body := self._bodies.pop(0)) is not None:
            body.close()

    def _begin_body(self) -> None:
        """Count the body of a request, if it has one, and put it into the scope."""
        body = self._connections.bodies.begin(self) if has_body(self.headers) else None
        self._bodies.append(body)
        if body is not None:
            self.scope[BODY_KEY] = body  # type: ignore[literal-required]  # ours

    def _limit_overhead(self, data: bytes) -> None:
        """Limit bytes outside bodies and whole heads: partial heads, chunk extensions, trailers."""
        self._overhead = 0 if self._progress else self._overhead + len(data)
        if self._overhead > HEAD_SIZE:
            self._reject(head_too_large())

    def _close_after_response(self) -> None:
        """Answer the last request that was read, then close."""
        self._ignores_input = True
        self._may_keep_alive = False
        if self.cycle.response_complete:
            self._linger()
        else:
            self.cycle.keep_alive = False

    def _reject(self, rejection: BadRequest) -> None:
        """Send the rejection, unless earlier responses are still due; then close."""
        _rejected.add()
        self._ignores_input = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._send_rejection(rejection, self._head_scope())
        elif self._in_head:
            cycle.keep_alive = False  # A later request is at fault: close after this response.
        else:
            self._abort_request(rejection)

    def _abort_request(self, rejection: BadRequest) -> None:
        """Disconnect the current request from the application, and respond here if possible."""
        cycle = self.cycle
        cycle.disconnected = True
        cycle.body = bytearray()
        cycle.waiting_for_100_continue = False  # Otherwise reading it would send 100 Continue.
        cycle.message_event.set()
        if cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            self._send_rejection(rejection, cycle.scope)

    def _head_scope(self) -> Scope:
        """Return what is known of a request whose head is at fault, or was read only in part."""
        path = getattr(self, "url", b"").partition(b"?")[0].decode("latin-1")
        headers = self.headers or []
        return {"path": path, "method": "", "scheme": self.scheme, "headers": headers}

    def _send_rejection(self, rejection: BadRequest, scope: Scope) -> None:
        own, body = _format_rejection(rejection, scope)
        if self.parser.get_method() == b"HEAD":
            body = b""  # RFC 9110 section 9.3.2
        headers = [*self.server_state.default_headers, *own, (b"connection", b"close")]
        self._response_transport.flush()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[rejection.status] + lines + b"\r\n" + body)
        self._linger()

    def _linger(self) -> None:
        """Close after the client has had time to read the response.

        If the connection were closed with unread bytes, the system would send a reset, and the
        client could lose the response (RFC 9112 section 9.6).
        """
        self._ignores_input = True
        self.pipeline.clear()
        for body in filter(None, self._bodies):
            body.close()
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # It was reset, and the event loop has not noticed yet.
            self.transport.abort()
            return
        self.flow.resume_reading()
        self._deadline = self.loop.time() + LINGER

    def _check_response_progress(self, now: float) -> None:
        """Abort if the client has read too little of its response for too long."""
        left = self.transport.get_write_buffer_size()
        if self._unsent is None or left <= self._unsent[1] - PROGRESS_SIZE:
            self._unsent = now, left
        elif now - self._unsent[0] >= RESPONSE_TIME:
            self.transport.abort()


def health_only(application: Any) -> Any:
    """Return an application that answers health checks, and 503 to everything else."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].removeprefix(scope["root_path"]) in HEALTH_PATHS:
            await application(scope, receive, send)
            return
        text = HTTPStatus.SERVICE_UNAVAILABLE.phrase.encode("ascii")
        plain = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"retry-after", RETRY_AFTER),
        ]
        headers, body = rejections.pages.page_for(scope, 503) or (plain, text)
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return oauth_errors.asgi(serve)


def _format_rejection(
    rejection: BadRequest, scope: Scope
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body: in OAuth's format, a page, or a problem document."""
    status = rejection.status
    if oauth_errors.is_for_client(scope):
        return oauth_errors.error_response(status)
    if (page := rejections.pages.page_for(scope, status)) is not None:
        return page
    body = problems.document(status, problems.code_of(status), rejection.sentence)
    headers = [
        (b"content-type", problems.CONTENT_TYPE.encode("ascii")),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    return headers, body


def _body_evicted() -> BadRequest:
    return BadRequest(
        408, "The request's body took too long, and its memory was needed for others."
    )


def _malformed_request() -> BadRequest:
    return BadRequest(400, "The request is not well-formed.")
