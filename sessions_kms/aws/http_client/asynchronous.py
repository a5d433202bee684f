"""Requests of event loops, without a thread: each loop has its own connections.

Takes a request; returns its response within the time of an attempt (`concurrency.deadline`). A
task that is cancelled, or runs out of time, closes its connection. A forked process has its own
loops, and so its own connections.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Container
from contextvars import Context
from typing import Any, Final, cast

from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.connections import (
    Connection,
    IdleConnections,
    Pool,
    TlsChannel,
    expiry_of_new,
    poll_readable,
    return_response,
)
from sessions_kms.aws.http_client.response import Response, ResponseReader
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Attempt, OutOfTime
from sessions_kms.http import connecting

READ: Final = 64 * 1024  # bytes that are read at one time
GRACE: Final = 0.01  # seconds in which a delayed loop reads what had come in time

Receive = Callable[[bytes], object]  # takes bytes, b"" for the end; returns the outcome, or None


class AsyncConnection(asyncio.BufferedProtocol, Connection):
    """A connection of an event loop, for one task at a time; bytes that come unasked end it.

    ``buffer`` is where the loop puts what it reads: one for all connections of a loop, which
    reads one at a time and hands it over at once. A new one for each would cost more than all
    else here. Never one for two loops: two threads may read at one time.
    https://docs.python.org/3/library/asyncio-protocol.html
    """

    def __init__(
        self,
        tls: TlsChannel | None,
        buffer: memoryview,
        expires: float,
        idle: "IdleConnections[AsyncConnection]",
    ) -> None:
        Connection.__init__(self, tls, expires, idle)
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._poll: Callable[[float], object] = lambda _: True
        self._exchange: _Exchange | None = None

    async def open(self, attempt: Attempt) -> None:
        """Complete the handshake of TLS. Raises OSError."""
        if self.tls is None:
            return
        data, is_complete = self.tls.handshake(b"")
        if not is_complete:
            exchange = _Exchange(self._receive_handshake, attempt, self._loop)
            await self._run(data, exchange, attempt.to_connect())

    async def send(self, request: bytes, attempt: Attempt) -> Response:
        """Send a request and return its response. Raises OSError or InvalidResponse."""
        __traceback_hide__ = True
        reader = ResponseReader()

        def receive(data: bytes) -> Response | None:
            has_begun, response = self.read(reader, data)
            attempt.has_response = attempt.has_response or has_begun
            return response

        data = request if self.tls is None else self.tls.encrypt(request)
        exchange = _Exchange(receive, attempt, self._loop)
        response = cast("Response", await self._run(data, exchange, attempt.to_read()))
        if self.is_distrusted:  # Another task has distrusted it meanwhile.
            raise InvalidResponse
        response.connection = self
        return response

    def is_reusable(self) -> bool:
        return self._transport is not None and not (self.is_distrusted or self._poll(0))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _run(self, data: bytes, exchange: "_Exchange", seconds: float) -> object:
        __traceback_hide__ = True
        if self._transport is None:
            raise ConnectionResetError("The connection was closed.")
        self._exchange = exchange
        exchange.set_timeout(seconds)
        try:
            self._transport.write(data)
            return await exchange.outcome()
        finally:
            exchange.end()
            self._exchange = None

    def _receive_handshake(self, data: bytes) -> bool | None:
        if not data or self.tls is None:
            raise ConnectionResetError("The connection was closed during the handshake.")
        to_send, is_complete = self.tls.handshake(data)
        if to_send and self._transport is not None:
            self._transport.write(to_send)
        return is_complete or None

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll = poll_readable(transport.get_extra_info("socket").fileno())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put received bytes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take received bytes."""
        self._receive(bytes(self._buffer[:nbytes]))

    def _receive(self, data: bytes) -> None:
        if self._exchange is None or not self._exchange.receive(data):
            self.close()

    def eof_received(self) -> None:
        """Take the end of the other side."""
        self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange."""
        self._transport = None
        if self._exchange is not None:
            self._exchange.fail(exc or ConnectionResetError("The connection was closed."))


class _Exchange:
    """What one task has sent, and waits for."""

    __slots__ = ("_attempt", "_has_grace", "_loop", "_outcome", "_receive", "_timer")

    def __init__(self, receive: Receive, attempt: Attempt, loop: asyncio.AbstractEventLoop) -> None:
        self._receive = receive
        self._attempt = attempt
        self._loop = loop
        self._outcome: asyncio.Future[Any] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._has_grace = False

    def set_timeout(self, seconds: float) -> None:
        """End it in so many seconds, unless a response has begun."""
        self._timer = self._loop.call_later(seconds, self._time_out)

    async def outcome(self) -> object:
        """Return what was received, or raise its error."""
        found = await self._outcome
        try:
            if isinstance(found, Exception):
                raise found
            return found
        finally:
            found = None  # Its traceback has this frame: each would keep the other alive.

    def receive(self, data: bytes) -> bool:
        """Take received bytes; return False if nothing more was expected."""
        __traceback_hide__ = True
        if self._outcome.done():
            return False
        try:
            found = self._receive(data)
        except Exception as exc:  # noqa: BLE001 - it is raised in the task
            self.fail(exc)
        else:
            if found is not None:
                self._outcome.set_result(found)
        return True

    def fail(self, exc: Exception) -> None:
        """Raise this in the task."""
        if not self._outcome.done():
            self._outcome.set_result(exc)  # As a result: a cancelled task would not fetch an error.

    def end(self) -> None:
        """Cancel the timeout."""
        if self._timer is not None:
            self._timer.cancel()

    def _time_out(self) -> None:
        if left := self._time_left():
            self.set_timeout(left)
        elif not self._has_grace:
            self._has_grace = True
            self.set_timeout(GRACE)
        else:
            self.fail(OutOfTime())

    def _time_left(self) -> float:
        """Return how long a response that has begun may yet take."""
        try:
            return self._attempt.to_write() if self._attempt.has_response else 0
        except OutOfTime:
            return 0


class AsyncPool(Pool):
    """One origin's connections, up to so many for each event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._of_loops: dict[asyncio.AbstractEventLoop, _LoopPool] = {}

    async def send(
        self,
        request: bytes,
        parse: Callable[[Response], Any] = return_response,
        exclude: Container[object] = (),
    ) -> Any:
        """Send a request once; see `BlockingPool.send`."""
        __traceback_hide__ = True
        attempt = Attempt(self._limits or deadline.HASTY)
        pool = self._of_loops.get(asyncio.get_running_loop()) or await self._start()
        await self._wait_for_place(pool.places, attempt)
        try:
            connection = pool.idle.take(exclude) or await self._connect(attempt, pool)
            is_reusable = False
            try:
                response = await connection.send(request, attempt)
                tls = connection.tls
                is_reusable = response.keep_alive and (tls is None or not tls.has_ended)
                return parse(response)
            except OSError as exc:
                raise self._no_response(exc) from exc
            except InvalidResponse:
                is_reusable = False
                raise
            finally:
                # Not in an `except`: a task that is cancelled leaves no half-read response, either.
                self._put_back(connection, pool.idle, is_reusable)
        finally:
            pool.places.release()

    async def _start(self) -> "_LoopPool":
        for loop in list(self._of_loops):
            if loop.is_closed():  # without notice: see `_LoopPool.until_loop_ends`
                self._of_loops.pop(loop, None)
        pool = _LoopPool(IdleConnections(self._steady), self._connections)
        self._of_loops[asyncio.get_running_loop()] = pool
        await anext(pool.end)
        return pool

    async def _wait_for_place(self, places: asyncio.Semaphore, attempt: Attempt) -> None:
        if not places.locked():
            await places.acquire()  # at once
            return
        try:
            async with asyncio.timeout(attempt.to_connect()):
                await places.acquire()
        except TimeoutError:
            raise self._not_connected(OutOfTime()) from None

    async def _connect(self, attempt: Attempt, pool: "_LoopPool") -> AsyncConnection:
        host, port = self._origin.host, self._origin.port
        try:
            async with asyncio.timeout(attempt.to_connect()):
                found = await connecting.resolver.resolve_async(host, port, attempt.to_connect())
                connected = await connecting.connect_async(found, attempt)
                try:
                    return await self._open(connected, attempt, pool)
                except BaseException:
                    connected.close()
                    raise
        except OSError as exc:
            raise self._not_connected(exc) from exc

    async def _open(
        self, connected: socket.socket, attempt: Attempt, pool: "_LoopPool"
    ) -> AsyncConnection:
        channel, expires = self._tls.channel(), expiry_of_new(self._steady())
        connection = AsyncConnection(channel, pool.buffer, expires, pool.idle)
        loop = asyncio.get_running_loop()
        # In a context of its own: the transport keeps it, and this one may hold a request.
        opening = loop.create_connection(lambda: connection, sock=connected)
        try:
            await loop.create_task(opening, context=Context())
            await connection.open(attempt)
        except BaseException:
            connection.close()
            raise
        return connection


class _LoopPool:
    """The connections of one event loop."""

    def __init__(self, idle: IdleConnections[AsyncConnection], connections: int) -> None:
        self.idle = idle
        self.places = asyncio.Semaphore(connections)
        self.buffer = memoryview(bytearray(READ))
        self.end = self.until_loop_ends()

    async def until_loop_ends(self) -> AsyncGenerator[None]:
        """Close the connections when the loop ends, which closes its generators.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.shutdown_asyncgens
        """
        try:
            yield
        finally:
            self.idle.close()
            await asyncio.sleep(0)  # The loop closes sockets at its next turn.
