"""HTTP/1.1 with an upstream: one exchange after another over one wire, parsed by h11.

A connection tells whether it may be used again: only after exchanges of which both sides
know beyond doubt where they ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import cast

import h11
import httpx2

from gateway_site.rules.body import TAKES_BODY
from gateway_site.transport.wire import Wire

HEAD_MAX = 100 * 1024  # bytes of an answer's head
WRITE_TIMEOUT = 60.0  # seconds in which an upstream must take the next piece of a request
# Chunks or interim answers that are read in a row, then others have a turn: one read may bring
# ten thousands of them, and whatever else the event loop serves, health too, would wait for all.
IN_A_ROW = 4
# Forbidden in a field's value (RFC 9110 section 5.5). h11 lets them pass, uvicorn sends none on.
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Event = h11.Event | type[h11.PAUSED]
Head = h11.Response | h11.InformationalResponse


class Http1Connection:
    """A connection to an upstream, as `connections.Connection` wants it."""

    def __init__(self, wire: Wire) -> None:
        """Take a wire on which nothing was said yet."""
        self._wire = wire
        self._exchange: _Exchange | None = None

    async def ask(self, request: httpx2.Request, ended: Callable[[], None]) -> httpx2.Response:
        """Send a request and return the answer, its body still to come.

        `ended` is called when the answer is closed. Raises httpx2.HTTPError; it is not then.
        """
        self._exchange = exchange = _Exchange(self._wire, request)
        await exchange.send(request)
        head = await exchange.head()
        body = _Pieces(exchange, ended)
        return httpx2.Response(head.status_code, headers=head.headers.raw_items(), stream=body)

    @property
    def is_clean(self) -> bool:
        """Whether it may be used again."""
        ended = self._exchange is None or self._exchange.ended_cleanly
        return ended and self._wire.is_quiet

    def close(self) -> None:
        """Close at once."""
        self._wire.close()


class _Pieces(httpx2.AsyncByteStream):
    """An answer's body."""

    def __init__(self, exchange: _Exchange, ended: Callable[[], None]) -> None:
        self._exchange = exchange
        self._ended = ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._exchange.pieces()

    async def aclose(self) -> None:
        self._ended()


class _Exchange:
    """One request and its answer.

    It has a parser of its own: no byte that came with one answer is ever read as the next.
    """

    def __init__(self, wire: Wire, request: httpx2.Request) -> None:
        self._wire = wire
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._in_a_row = 0
        # Many servers leave the body of another method unread, and take it for the next request.
        self._is_sound = request.method in TAKES_BODY or not _has_body(request)

    @property
    def ended_cleanly(self) -> bool:
        """Whether both sides agree that it is over, and that the connection goes on."""
        unread, _ = self._parser.trailing_data
        return (
            self._is_sound
            and not unread
            and not self._wire.is_early
            and self._parser.our_state is h11.DONE
            and self._parser.their_state is h11.DONE
        )

    async def send(self, request: httpx2.Request) -> None:
        """Send a request, or what an upstream takes of it that answers early and hangs up."""
        stream = aiter(cast("httpx2.AsyncByteStream", request.stream))
        async with aclosing(cast("AsyncGenerator[bytes, None]", stream)) as pieces:
            with suppress(httpx2.WriteError):
                await self._write(_head_of, request)
                async for piece in pieces:
                    await self._write(h11.Data, data=piece)
                await self._write(h11.EndOfMessage)

    async def head(self) -> h11.Response:
        """Return the head of the answer, those of interim ones skipped."""
        while not isinstance(event := await self._next(), h11.Response):
            if isinstance(event, h11.InformationalResponse):
                self._check(event)
        self._check(event)
        return event

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body of the answer, once."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def _write(self, make: Callable[..., h11.Event], *parts: object, **more: object) -> None:
        try:
            data = self._parser.send(make(*parts, **more))
            if data:
                await self._wire.write(data, patience=WRITE_TIMEOUT)
        except h11.LocalProtocolError:
            raise httpx2.LocalProtocolError("This request cannot be sent.") from None
        except TimeoutError:
            raise httpx2.WriteTimeout("The request was not taken in time.") from None
        except OSError:
            raise httpx2.WriteError("The request was not taken.") from None

    async def _next(self) -> Event:
        await self._let_others_run()
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                self._parser.receive_data(await self._wire.read())
        except h11.RemoteProtocolError:
            raise httpx2.RemoteProtocolError("This is no answer.") from None
        except OSError:
            raise httpx2.ReadError("The answer broke off.") from None
        return cast("Event", event)

    async def _let_others_run(self) -> None:
        self._in_a_row += 1
        if self._in_a_row > IN_A_ROW:
            self._in_a_row = 1
            await asyncio.sleep(0)

    def _check(self, head: Head) -> None:
        """Note a head after which servers and clients disagree on where its answer ends.

        Raises httpx2.RemoteProtocolError for one that cannot be passed on.
        """
        if any(CONTROL.search(value) for _, value in head.headers):
            raise httpx2.RemoteProtocolError("This is no answer.")
        told = dict(head.headers)
        length, coding = told.get(b"content-length"), told.get(b"transfer-encoding")
        if head.status_code < 200 or head.status_code == 204:
            # They may have neither, having no body: RFC 9110 section 8.6, RFC 9112 section 6.1.
            self._is_sound = self._is_sound and length in {None, b"0"} and coding is None
        elif length is not None and coding is not None:  # RFC 9112 section 6.3
            self._is_sound = False


def _head_of(request: httpx2.Request) -> h11.Request:
    return h11.Request(
        method=request.method, target=request.url.raw_path, headers=request.headers.raw
    )


def _has_body(request: httpx2.Request) -> bool:
    told = request.headers
    return "transfer-encoding" in told or told.get("content-length", "0") != "0"
