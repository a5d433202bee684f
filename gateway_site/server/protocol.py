"""One client's connection: uvicorn's own on httptools, with bounds on size, number and time.

Relies on uvicorn's private parts; pyproject.toml holds its version for that, and
tests/gateway_site/server notice when they change.

What is over a bound never reaches the application. How long a body may take is the
application's to say (`gateway_site.rules.body`), so that it holds under other servers too;
here is what it cannot see: a head that does not arrive, a body that nobody reads, an answer
that is not taken, and how many connections there are.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from gateway_site.edge import oauth_errors, trusted_proxies
from gateway_site.edge.client import ANSWER_TIME, BODY_KEY, ReceivedBody
from gateway_site.edge.reports import Tally
from gateway_site.health import PATHS as HEALTH_PATHS
from gateway_site.rules import problems
from gateway_site.server import connections
from gateway_site.server.answer_transport import AnswerTransport
from gateway_site.server.request_syntax import (
    HEAD_FIELDS,
    HEAD_SIZE,
    Refusal,
    RequestLines,
    check_head,
    has_body,
    head_too_large,
)

logger = logging.getLogger(__name__)

HEAD_TIME = 10.0  # seconds, from a connection's beginning or its next request's first byte
TAKEN = 16 * 1024  # bytes of an answer, taken in ANSWER_TIME, that keep a connection
LINGER = 2.0  # seconds for which a client that is refused is listened to, so that it reads why
# Bytes that are read, and parsed, at one time; asyncio reads four times as many by itself.
READ_SIZE = 64 * 1024
PIPELINED = 16  # requests that may wait for the answer before theirs
RETRY_AFTER = b"5"  # seconds
NEVER = float("inf")

_malformed = Tally(logger, "%d requests were refused before they reached the application.")


class BoundedProtocol(HttpToolsProtocol):
    """See the module."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None  # it would take the connection out of these bounds
        self.peer: str | None = None
        self._all = connections.of_server(server_state, config, self.loop)
        self._due = NEVER
        self._is_idle = False  # with no byte of a next request, after the first one
        self._lines = RequestLines()
        self._in_head = True  # or between two requests
        self._progress = False  # whether what was last fed ended a head or a message, or was body
        self._overhead = 0  # bytes fed since
        self._pieces: list[bytes] = []  # of a body, as they came, until what was fed is read
        self._may_stay = True  # whether the connection outlives the request under way
        self._deaf = False  # whether what the client sends is dropped
        self._running: RequestResponseCycle | None = None
        self._untaken: tuple[float, int] | None = None  # since when, how much
        # Whom a trusted proxy named for each request under way, by what they are counted under.
        self._clients: list[str | None] = []
        self._bodies: list[ReceivedBody | None] = []  # of the requests under way

    # What uvicorn and asyncio call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        with suppress(AttributeError):  # uvloop's has none, and reads as much as asyncio
            transport.max_size = READ_SIZE  # type: ignore[attr-defined]  # of asyncio's own
        self._answers = AnswerTransport(transport, self.end, self.loop)
        self._due = self.loop.time() + HEAD_TIME
        self.peer = connections.peer_of(self.client)
        if not self._all.admit(self):
            self.app = health_only(self.app)
            self._may_stay = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.forget(self)
        while self._clients:
            self._give_back()
        super().connection_lost(exc)
        if self._running is not None:  # uvicorn tells the request that came last, no other
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        # Else protocol, answers and request keep each other until the collector looks.
        self._answers.close = self.transport.close

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._is_idle:
            self._is_idle = False
            self._due = self.loop.time() + HEAD_TIME
        self._progress = False
        try:
            for piece in self._lines.pieces(data):
                self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._end_after_this()  # what follows may be of the protocol that was asked for
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserError as error:
            found = error.__context__
            self._pieces.clear()
            if not self._deaf:  # else its body was ended, and it was told so
                self._refuse(found if isinstance(found, Refusal) else _malformed_request())
        else:
            self._add_body()
            if not self._deaf:  # else its body was ended by what came of it
                self._count(data)

    def resume_writing(self) -> None:
        self._untaken = None
        super().resume_writing()

    def shutdown(self) -> None:
        self._answers.flush()
        self._may_stay = False
        super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        # What asyncio calls after a pause, or the request before this one, has that one's context.
        # https://github.com/python/cpython/issues/140947
        Context().run(super()._start_asgi_task, cycle, app)

    # What httptools calls

    def on_message_begin(self) -> None:
        if not self._lines.expects_request:
            raise _malformed_request()  # its first line was not looked at
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
        self._lines.begin_body(self.headers)
        if version == "1.0":
            self.expect_100_continue = False  # which it may not know: RFC 9110 section 10.1.1
        if len(self.pipeline) >= PIPELINED:
            raise Refusal(400, "Too many requests were sent ahead.")
        if self.parser.should_upgrade() and has_body(self.headers):
            raise Refusal(400, "No other protocol is spoken here.")  # httptools drops the body
        application = self.app
        if not self._take():
            self.app = health_only(application)
        self._begin_body()
        super().on_headers_complete()
        self.app = application
        if self.pipeline:  # uvicorn stops reading here, and would not see the client go
            self.flow.resume_reading()
        self._in_head = False
        self._progress = True
        self._due = NEVER
        self._all.works(self)
        # The next request can only be found once the body of this one is there.
        self._may_stay = self._may_stay and self.cycle.keep_alive
        self.cycle.keep_alive = False
        self.cycle.transport = self._answers  # type: ignore[assignment]  # the part that it uses

    def on_body(self, body: bytes) -> None:
        """Keep a piece: a client may send chunks of one byte, and uvicorn copies all for each."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._add_body()
        if self._deaf:
            raise _ended_body()
        self._in_head = True
        self._progress = True
        super().on_message_complete()
        if self._bodies and (counted := self._bodies[-1]) is not None:
            counted.complete()
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._may_stay

    def on_response_complete(self) -> None:
        """Do what uvicorn does; the look at all connections ends one that is idle for too long."""
        self._give_back()
        if self._running is not None:
            self._running.body = bytearray()  # what the application has not asked for
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._all.waits(self)
            if not self._deaf:  # Else it ends when it has lingered.
                self._is_idle = True
                self._due = self.loop.time() + self.timeout_keep_alive

    # What the process's connections and the requests call

    def drop(self) -> None:
        """Close at once."""
        self._answers.flush()
        self.transport.abort()

    def look(self, now: float) -> None:
        """Close where the client has been waited for long enough."""
        if self.flow.write_paused or self.transport.is_closing():
            self._look_at_answer(now)
        else:
            self._untaken = None
        if now >= self._due:
            self._due = NEVER
            if self._overhead and not self._deaf:
                self._refuse(Refusal(408, "The request did not arrive in time."))
            else:
                self.transport.close()

    def end_body(self) -> None:
        """End the last request, whose body or one before takes too much memory."""
        self._deaf = True
        self._break_off(_ended_body())

    def end(self) -> None:
        """Close after an answer."""
        self._answers.flush()
        if self._in_head and not self._deaf:
            self.transport.close()
        else:
            self._linger()

    # Steps

    def _add_body(self) -> None:
        """Give the request under way what has come of its body."""
        if self._pieces:
            self._progress = True
            body = b"".join(self._pieces)
            self._pieces.clear()
            super().on_body(body)
            if self._bodies and (counted := self._bodies[-1]) is not None:
                counted.add(len(body))

    def _take(self) -> bool:
        """Count the request under the client that a trusted proxy names, if one has its share."""
        found = trusted_proxies.client_of(self.client and self.client[0], self.headers)
        client = None if found is None else trusted_proxies.counted_under(found)
        has_place = client is None or self._all.take(client)
        self._clients.append(client if has_place else None)
        return has_place

    def _give_back(self) -> None:
        if self._clients and (client := self._clients.pop(0)) is not None:
            self._all.give_back(client)
        if self._bodies and (body := self._bodies.pop(0)) is not None:
            body.close()

    def _begin_body(self) -> None:
        """Count the body of a request, if it has one, and let the application tell of it."""
        body = self._all.bodies.begin(self) if has_body(self.headers) else None
        self._bodies.append(body)
        if body is not None:
            self.scope[BODY_KEY] = body  # type: ignore[literal-required]  # ours

    def _count(self, data: bytes) -> None:
        """Bound what is neither body nor a whole head: half a head, chunk extensions, trailers."""
        self._overhead = 0 if self._progress else self._overhead + len(data)
        if self._overhead > HEAD_SIZE:
            self._refuse(head_too_large())

    def _end_after_this(self) -> None:
        """Answer the last request that was read, then close."""
        self._deaf = True
        self._may_stay = False
        if self.cycle.response_complete:
            self._linger()
        else:
            self.cycle.keep_alive = False

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal, unless other answers are owed first; then close."""
        _malformed.add()
        self._deaf = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer(refusal)
        elif self._in_head:
            cycle.keep_alive = False  # a later request is at fault, and told so by the close
        else:
            self._break_off(refusal)

    def _break_off(self, refusal: Refusal) -> None:
        """Take the request under way from the application, and answer in its place if one can."""
        cycle = self.cycle
        cycle.disconnected = True
        cycle.body = bytearray()
        cycle.waiting_for_100_continue = False  # Reading it, the request would say so yet.
        cycle.message_event.set()
        if cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        made, body = self._form_of(refusal)
        headers = [*self.server_state.default_headers, *made, (b"connection", b"close")]
        self._answers.flush()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        self._linger()

    def _form_of(self, refusal: Refusal) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return headers and body, for an OAuth client in the form that it reads."""
        path = getattr(self, "url", b"").partition(b"?")[0].decode("latin-1")
        # Whatever could be read of its head by now.
        if oauth_errors.is_for_client({"path": path, "method": "", "headers": self.headers or []}):
            return oauth_errors.error(refusal.status)
        body = problems.document(refusal.status, problems.code_of(refusal.status), refusal.sentence)
        headers = [
            (b"content-type", problems.CONTENT_TYPE.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
        ]
        return headers, body

    def _linger(self) -> None:
        """Close, once the client has had time to read what it was told.

        With bytes of its that were not read the system would send a reset, by which the
        client may lose the answer (RFC 9112 section 9.6).
        """
        self._deaf = True
        self.pipeline.clear()
        for body in filter(None, self._bodies):
            body.close()
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # It has gone: by a reset, which the event loop has yet to hear of.
            self.transport.abort()
            return
        self.flow.resume_reading()
        self._due = self.loop.time() + LINGER

    def _look_at_answer(self, now: float) -> None:
        """Abort when the client has taken no piece of its answer for too long."""
        left = self.transport.get_write_buffer_size()
        if self._untaken is None or left <= self._untaken[1] - TAKEN:
            self._untaken = now, left
        elif now - self._untaken[0] >= ANSWER_TIME:
            self.transport.abort()


def health_only(application: ASGI3Application) -> ASGI3Application:
    """Return an application that answers health checks, and 503 to all else."""

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].removeprefix(scope["root_path"]) in HEALTH_PATHS:
            await application(scope, receive, send)
            return
        body = HTTPStatus.SERVICE_UNAVAILABLE.phrase.encode("ascii")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"retry-after", RETRY_AFTER),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return oauth_errors.asgi(answering)  # type: ignore[return-value]  # of looser types


def _ended_body() -> Refusal:
    return Refusal(408, "The request's body took too long, and others needed its memory.")


def _malformed_request() -> Refusal:
    return Refusal(400, "The request is not well-formed.")
