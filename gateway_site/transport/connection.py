"""A connection to an upstream: one exchange after another, with back-pressure both ways.

Takes a request; returns a response, whose body is received later. The event loop also reads while
no call waits for bytes, so that unsolicited data of an upstream are noticed. This includes TLS,
where a socket does not show which bytes are already decrypted.
"""

import asyncio
import ipaddress
import select
import ssl
from collections.abc import Callable
from contextlib import aclosing, suppress
from contextvars import Context
from typing import Any, cast

from gateway_site.rules.headers import Headers
from gateway_site.transport.failures import (
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    Unheard,
    UpstreamFailed,
    WriteTimeout,
)
from gateway_site.transport.messages import Request, ResponseReader

WRITE_TIMEOUT = 60.0  # seconds in which an upstream must take the next piece of a request
HELD = 128 * 1024  # bytes of a response that wait to be taken; above that, reading is paused
# RFC 8305: the time after which the next address of a host is tried as well. uvloop has none.
NEXT_ADDRESS = {"happy_eyeballs_delay": 0.25}


class Http1Connection(asyncio.Protocol):
    """An open connection to an upstream."""

    def __init__(self) -> None:
        self._reader: ResponseReader | None = None
        self._is_sound = True  # no error that prevents its reuse has occurred
        self._is_sent = True  # whether the last request was sent completely
        self._is_paused = False
        self._head = b""  # the head that waits for the first piece of its body
        self._is_late = False  # the response, or its next piece, timed out
        self._failure: type[UpstreamFailed] | None = None
        self._news: asyncio.Future[None] | None = None  # for data, or the end of them
        self._room: asyncio.Future[None] | None = None  # for more of a request

    async def send(
        self, request: Request, *, seconds: float, ended: Callable[[], None]
    ) -> "Response":
        """Send a request and return the response, whose head must come within `seconds`.

        `ended` is called when the response is closed, and not if this raises UpstreamFailed.
        Unheard may only mean that the upstream closed an idle connection.
        """
        was_idle = self._reader is not None
        self._reader = reader = ResponseReader(request.method)
        self._is_sound = self._is_sound and request.is_unmistakable
        self._is_sent = False
        try:
            if request.length == 0:
                self._put(request.head)
                await self._write_out()
            else:
                await self._send_with_body(request)
            self._is_sent = True
        except ConnectionError:  # It may respond early and close; that is read below.
            pass
        try:
            await self.until(lambda: reader.has_head, seconds)
        except (ReadError, RemoteProtocolError):
            if was_idle and not reader.has_begun:
                raise Unheard from None
            raise
        return Response(self, reader, ended)

    async def until(self, is_there: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition of the response is met. Raises UpstreamFailed."""
        if is_there():
            return
        self._is_late = False
        self._timer.start(seconds)
        try:
            while not is_there():
                if self._failure is not None:
                    raise self._failure
                if self._is_late:
                    raise ReadTimeout
                self._news = self._loop.create_future()
                await self._news
        finally:
            self._timer.cancel()

    def take(self, reader: ResponseReader) -> bytes:
        """Return the received part of a body, and resume reading."""
        piece = reader.take_body()
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return piece

    def wake(self) -> None:
        """Make `until` look at its condition again."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    @property
    def is_clean(self) -> bool:
        """Whether it can be reused: no exchange is in progress, and no unsolicited data came."""
        reader = self._reader
        is_over = reader is None or (reader.has_ended and reader.is_unmistakable)
        is_open = not self._transport.is_closing() and not self._is_paused
        return is_over and is_open and self._is_sound and self._is_sent and not self._is_readable()

    @property
    def peer(self) -> str:
        """The address of the peer; empty if the connection is closed."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def close(self) -> None:
        """Close immediately, and discard unwritten data."""
        self._transport.abort()
        if self._reader is not None:
            self._reader.close()

    async def _send_with_body(self, request: Request) -> None:
        """Send the head, together with the body's first piece if that is there.

        Each write is a system call and a packet. The head waits for no more than the event loop's
        next iteration.
        """
        self._head = request.head
        self._loop.call_soon(self._put, b"")
        async with aclosing(request.pieces()) as pieces:
            async for piece in pieces:
                self._put(piece)
                await self._write_out()

    def _put(self, data: bytes) -> None:
        """Start writing bytes, after the head if that waits."""
        head, self._head = self._head, b""
        if not head and not data:
            return
        self._mark_early(self._reader is not None and self._reader.has_begun)
        if not self._transport.is_closing():
            self._transport.write(head + data)

    async def _write_out(self) -> None:
        """Wait until the bytes are written. Raises ConnectionError and WriteTimeout."""
        if self._room is not None:
            try:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._room
            except TimeoutError:
                raise WriteTimeout from None
        if self._transport.is_closing():
            raise ConnectionError

    def _mark_early(self, is_early: bool) -> None:
        """Note a response that came before its request was sent: it may belong to another."""
        self._is_sound = self._is_sound and not is_early

    def _is_readable(self) -> bool:
        """Return True if there are unread data, or the end of the stream."""
        return bool(self._poll.poll(0))

    def _is_cut(self) -> bool:
        """Return True if TLS ended without the upstream's close_notify (RFC 9112 section 9.8).

        asyncio does not tell; after that word there is nothing to read, and no wish for more.
        """
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        try:
            return tls is not None and tls.read(1) != b""
        except ssl.SSLError:
            return True

    def _fail(self, failure: type[UpstreamFailed]) -> None:
        self._failure = self._failure or failure
        self.wake()

    def _be_late(self) -> None:
        self._is_late = True
        self.wake()

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the new connection; a write ends when the kernel or TLS has accepted all bytes."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(self._loop, self._be_late)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket"), select.POLLIN)
        self._transport.set_write_buffer_limits(high=1, low=0)  # TLS would wait at a high of 0.

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        reader = self._reader
        if reader is None or reader.has_ended:
            self._is_sound = False
            self.close()
            return
        self._mark_early(bool(self._transport.get_write_buffer_size()))
        try:
            reader.receive_data(data)
        except RemoteProtocolError:
            self._fail(RemoteProtocolError)
            self.close()
            return
        if not self._is_paused and reader.buffered >= HELD:
            self._is_paused = True
            self._transport.pause_reading()
        self.wake()

    def eof_received(self) -> None:
        """Note the end of the stream; the transport closes itself."""
        if self._reader is None or self._is_cut():
            return  # The loss of the connection follows, and is an error.
        try:
            self._reader.receive_end()
        except RemoteProtocolError:
            self._fail(RemoteProtocolError)
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake all waiters."""
        self._fail(ReadError)
        self._timer.close()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Make writers wait."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Wake writers."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None


class Response:
    """An upstream's response, which the caller closes. Header names are in lower case."""

    def __init__(
        self, connection: Http1Connection, reader: ResponseReader, ended: Callable[[], None]
    ) -> None:
        self.status = reader.status
        self.headers: Headers = reader.headers
        self._connection = connection
        self._reader = reader
        self._ended = ended
        self._is_closed = False
        self._is_woken = False

    @property
    def is_complete(self) -> bool:
        """Whether the rest of the body has arrived."""
        return self._reader.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether the complete body was read."""
        return self._reader.has_ended and not self._reader.buffered

    def read_rest(self) -> bytes:
        """Return the received part of the body that was not read yet."""
        return self._connection.take(self._reader)

    async def read_piece(self, seconds: float) -> bytes:
        """Return the next piece of the body, b"" at its end, and once after `wake`.

        Raises UpstreamFailed, ReadTimeout after `seconds`.
        """
        await self._connection.until(self._has_news, seconds)
        self._is_woken = False
        return self._connection.take(self._reader)

    def wake(self) -> None:
        """Make the current or next `read_piece` return what is there, even if it is nothing."""
        self._is_woken = True
        self._connection.wake()

    def close(self) -> None:
        """Release the connection, once: it may be in use again then."""
        if not self._is_closed:
            self._is_closed = True
            self._ended()

    def _has_news(self) -> bool:
        return bool(self._reader.buffered) or self._reader.has_ended or self._is_woken


async def connect(
    host: str, port: int, tls: ssl.SSLContext | None, *, seconds: float
) -> Http1Connection:
    """Connect, within `seconds`. Raises OSError, TimeoutError too, and UnicodeError."""
    loop = asyncio.get_running_loop()
    is_one = not isinstance(loop, asyncio.BaseEventLoop) or _is_address(host)
    options: dict[str, Any] = {} if is_one else NEXT_ADDRESS
    # In a context of its own: the transport keeps it, and this one holds the call of one person.
    opening = loop.create_task(
        loop.create_connection(Http1Connection, host, port, ssl=tls, **options), context=Context()
    )
    try:
        async with asyncio.timeout(seconds):
            _, made = await opening
    except BaseException:
        opening.add_done_callback(_close_unused)
        raise
    return made


def _close_unused(opening: asyncio.Task[tuple[asyncio.Transport, Http1Connection]]) -> None:
    """Close a connection that was there when its call ended."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close()


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


class Timer:
    """Calls a function once it is due. It can be moved or cancelled at almost no cost.

    A `call_later` for each wait would cost more than most waits, as nearly all end soon. Here one
    handle stays scheduled, and checks when it fires whether the timer is due. It runs in a context
    of its own, and so outlives the request whose wait it was for without holding it.
    """

    __slots__ = ("_callback", "_due", "_handle", "_handle_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = callback
        self._due: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._handle_due = 0.0

    def start(self, seconds: float) -> None:
        """Set the timer to ``seconds`` from now; do nothing once it is closed."""
        if self._callback is None:
            return
        self._due = due = self._loop.time() + seconds
        if self._handle is None or due < self._handle_due:
            self._schedule(due)

    def cancel(self) -> None:
        """Cancel the timer; it can be started again."""
        self._due = None

    def close(self) -> None:
        """Cancel it permanently, and release the function."""
        self._due = self._callback = None
        if self._handle is not None:
            self._handle.cancel()

    def _schedule(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(due, self._check, context=Context())
        self._handle_due = due

    def _check(self) -> None:
        self._handle = None
        if self._due is None or self._callback is None:
            return
        if self._loop.time() < self._due:
            self._schedule(self._due)
        else:
            self._due = None
            self._callback()
