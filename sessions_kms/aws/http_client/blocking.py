"""Requests that block their thread: one origin's connections, for all threads of a process.

Takes a request; returns its response within the time of an attempt (`concurrency.deadline`).
"""

import os
import socket
from collections.abc import Callable, Container
from math import ceil
from queue import Empty, SimpleQueue
from typing import Any, Final
from weakref import WeakSet

from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.connections import (
    MILLISECONDS,
    Connection,
    IdleConnections,
    Pool,
    TlsChannel,
    expiry_of_new,
    poll_readable,
    return_response,
    wait_writable,
)
from sessions_kms.aws.http_client.response import Response, ResponseReader
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Attempt, OutOfTime
from sessions_kms.http import connecting

FIRST_READ: Final = 16 * 1024  # bytes: a larger buffer costs more to allocate
# Of a longer response: where its length is known, no more than that and TLS's overhead. A large
# buffer is allocated by the system each time.
NEXT_READ: Final = 128 * 1024
OVERHEAD: Final = 4 * 1024


class BlockingConnection(Connection):
    """A socket of threads.

    The socket itself never waits: with a timeout, it would check whether it is writable before
    each request, and set the kernel's mode before each wait.
    """

    def __init__(
        self,
        connected: socket.socket,
        tls: TlsChannel | None,
        expires: float,
        idle: "IdleConnections[BlockingConnection]",
    ) -> None:
        super().__init__(tls, expires, idle)
        connected.setblocking(False)
        self._socket = connected
        self._poll = poll_readable(connected.fileno())

    def open(self, attempt: Attempt) -> None:
        """Complete the handshake of TLS. Raises OSError."""
        if self.tls is None:
            return
        data, is_complete = self.tls.handshake(b"")
        while data or not is_complete:
            self._send(data, attempt.to_connect)
            if is_complete:
                break
            if not (received := self._receive(attempt.to_connect, FIRST_READ)):
                raise ConnectionResetError("The connection was closed during the handshake.")
            data, is_complete = self.tls.handshake(received)

    def send(self, request: bytes, attempt: Attempt) -> Response:
        """Send a request and return its response. Raises OSError or InvalidResponse."""
        __traceback_hide__ = True
        data = request if self.tls is None else self.tls.encrypt(request)
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send(memoryview(data)[sent:], attempt.to_write)
        reader, size = ResponseReader(), FIRST_READ
        while True:
            has_begun, response = self.read(reader, self._receive(attempt.to_read, size))
            if response is not None:
                if self.is_distrusted:  # Another thread has distrusted it meanwhile.
                    raise InvalidResponse
                response.connection = self
                return response
            if has_begun:
                attempt.has_response = True
                remaining = reader.remaining
                size = min(remaining + OVERHEAD, NEXT_READ) if remaining else NEXT_READ

    def _send(self, data: bytes | memoryview, left: Callable[[], float]) -> None:
        __traceback_hide__ = True
        data = memoryview(data)
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if not wait_writable(self._socket.fileno(), left()):
                    raise OutOfTime from None

    def _receive(self, left: Callable[[], float], size: int) -> bytes:
        while True:
            if not self._poll(ceil(left() * MILLISECONDS)):
                raise OutOfTime
            try:
                return self._socket.recv(size)
            except BlockingIOError:
                pass  # The kernel dropped what it had announced.

    def is_reusable(self) -> bool:
        return not (self.is_distrusted or self._poll(0))

    def close(self) -> None:
        self._socket.close()


class BlockingPool(Pool):
    """One origin's connections, for all threads of the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start()
        _pools.add(self)

    def send(
        self,
        request: bytes,
        parse: Callable[[Response], Any] = return_response,
        exclude: Container[object] = (),
    ) -> Any:
        """Send a request once, on none of the excluded connections; return its parsed response.

        Where ``parse`` raises InvalidResponse, the response may be that to another request, and so
        would be the next one: the connection is closed. While all connections are in use, a caller
        waits as long as it may take to connect. Raises botocore's errors (see `Pool`),
        InvalidResponse, and what ``parse`` raises. Nothing is sent a second time.
        """
        __traceback_hide__ = True
        attempt = Attempt(self._limits or deadline.HASTY)
        places, idle = self._places, self._idle
        try:
            places.get_nowait()
        except Empty:
            self._wait_for_place(attempt)
        try:
            connection = idle.take(exclude) or self._connect(attempt, idle)
            is_reusable = False
            try:
                response = connection.send(request, attempt)
                tls = connection.tls
                is_reusable = response.keep_alive and (tls is None or not tls.has_ended)
                return parse(response)
            except OSError as exc:
                raise self._no_response(exc) from exc
            except InvalidResponse:
                is_reusable = False
                raise
            finally:
                # Not in an `except`: what ends this thread leaves no half-read response, either.
                self._put_back(connection, idle, is_reusable)
        finally:
            places.put(None)

    def close(self) -> None:
        """Close idle connections."""
        self._idle.close()

    def restart(self) -> None:
        """Leave the connections to the parent of this forked process."""
        for connection in self._idle.all():
            connection.close()  # this process's end of it
        self._start()

    def _start(self) -> None:
        self._idle: IdleConnections[BlockingConnection] = IdleConnections(self._steady)
        # A semaphore in C.
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._connections):
            self._places.put(None)

    def _wait_for_place(self, attempt: Attempt) -> None:
        try:
            self._places.get(timeout=attempt.to_connect())
            return
        except (Empty, OutOfTime):
            pass
        raise self._not_connected(OutOfTime())

    def _connect(
        self, attempt: Attempt, idle: IdleConnections[BlockingConnection]
    ) -> BlockingConnection:
        host, port = self._origin.host, self._origin.port
        try:
            addresses = connecting.resolver.resolve(host, port, attempt.to_connect())
            connected = connecting.connect(addresses, attempt.to_connect, _create_socket)
            try:
                channel = self._tls.channel()
                connection = BlockingConnection(
                    connected, channel, expiry_of_new(self._steady()), idle
                )
                connection.open(attempt)
            except BaseException:
                connected.close()
                raise
        except OSError as exc:
            raise self._not_connected(exc) from exc
        return connection


def _create_socket(family: int) -> socket.socket:
    created = socket.socket(family, socket.SOCK_STREAM)
    created.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return created


_pools: "WeakSet[BlockingPool]" = WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.restart()


os.register_at_fork(after_in_child=_after_fork)
