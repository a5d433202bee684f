"""Calls of an endpoint that block their thread.

A request enters, its answer leaves, within the time of an attempt (`concurrency.deadline`).
Each connection serves one request at a time, and none that anything is odd about serves another.
"""

import os
import socket
from collections.abc import Callable, Container
from math import ceil
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final
from weakref import WeakSet, ref

from sessions_kms.aws import resolving
from sessions_kms.aws.http1.answer import Answer, AnswerReader, as_it_is
from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.transport.channel import Channel, heard
from sessions_kms.aws.transport.channels import Channels
from sessions_kms.aws.transport.failures import not_connected, unanswered
from sessions_kms.aws.transport.kept import Kept, end_of_one_made
from sessions_kms.aws.transport.watching import MILLISECONDS, is_writable, readable
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Attempt, Limits, OutOfTime

CONNECTIONS: Final = 64  # at one time
AT_ONCE: Final = 16 * 1024  # bytes that are read first: room for more costs more to make
# Bytes that are read at one time of an answer that is longer: where it is known how long, no
# room is made for more than that and what TLS adds. Much room is asked of the system each time.
MORE: Final = 128 * 1024
BESIDE: Final = 4 * 1024


class _Connection:
    """A socket and what its bytes say.

    The socket itself never waits: asked to by a time-out, it would look whether it can be
    written to before each request, and have the kernel told the mode before each wait.
    """

    __slots__ = ("_kept", "_socket", "_speaks", "channel", "ends", "is_distrusted", "is_resumable")

    def __init__(
        self, made: socket.socket, channel: Channel, ends: float, kept: "Kept[_Connection]"
    ) -> None:
        made.setblocking(False)
        self._socket = made
        self._speaks = readable(made.fileno())
        self._kept = ref(kept)  # which has this one
        self.channel = channel
        self.ends = ends
        self.is_distrusted = False
        self.is_resumable = False  # Nothing is known by which its session is resumed.

    def open(self, attempt: Attempt) -> None:
        """Shake hands. Raises OSError."""
        said, is_open = self.channel.opening(b"")
        while said or not is_open:
            self._send(said, attempt.to_connect)
            if is_open:
                break
            if not (data := self._received(attempt.to_connect)):
                raise ConnectionResetError("The connection was closed within the handshake.")
            said, is_open = self.channel.opening(data)

    def ask(self, request: bytes, attempt: Attempt) -> Answer:
        """Send a request and return its answer. Raises OSError or GarbledAnswer."""
        __traceback_hide__ = True
        said = self.channel.sealed(request)
        try:
            sent = self._socket.send(said)
        except BlockingIOError:
            sent = 0
        if sent < len(said):
            self._send(memoryview(said)[sent:], attempt.to_write)
        reader, most = AnswerReader(), AT_ONCE
        while True:
            data = self._received(attempt.to_read, most)
            began, answer = heard(self.channel, reader, data)
            if answer is not None:
                if self.is_distrusted:  # Another thread found out meanwhile.
                    raise GarbledAnswer
                answer.connection = self
                return answer
            if began:
                attempt.heard = True
                most = min(reader.left + BESIDE, MORE) if reader.left else MORE

    def _send(self, data: bytes | memoryview, left: Callable[[], float]) -> None:
        __traceback_hide__ = True
        data = memoryview(data)
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if not is_writable(self._socket.fileno(), left()):
                    raise OutOfTime from None

    def _received(self, left: Callable[[], float], most: int = AT_ONCE) -> bytes:
        while True:
            if not self._speaks(ceil(left() * MILLISECONDS)):
                raise OutOfTime
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                pass  # The kernel dropped what it had announced.

    def is_quiet(self) -> bool:
        """Tell whether nothing can be read, not its end either, and it is not distrusted."""
        return not (self.is_distrusted or self._speaks(0))

    def distrust(self) -> None:
        """Close it if it is idle; another thread that uses it believes no answer of it."""
        self.is_distrusted = True
        if (kept := self._kept()) is not None:
            kept.remove(self)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class BlockingTransport:
    """One endpoint's connections, for all threads of the process, and no more than so many.

    ``authorities`` is the file of those whom TLS believes. Without TLS there is none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        authorities: str = "",
        *,
        limits: Limits | None = None,
        connections: int = CONNECTIONS,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._channels = Channels(endpoint, authorities)
        self._limits = limits
        self._connections = connections
        self._steady = steady
        self._kept: Kept[_Connection]
        self._begin()
        _transports.add(self)

    def ask(
        self,
        request: bytes,
        read: Callable[[Answer], Any] = as_it_is,
        apart_from: Container[object] = (),
    ) -> Any:
        """Send a request once, on another connection than these, and return what its answer says.

        One that ``read`` calls garbled may be that to another request, and so would be the next
        on its connection: that is closed. Who finds all connections in use waits for one, as
        long as one may take to connect. Raises botocore's errors (see `failures`), GarbledAnswer,
        and what ``read`` does. Nothing is sent a second time.
        """
        __traceback_hide__ = True
        attempt = Attempt(self._limits or deadline.HASTY)
        places = self._places
        try:
            places.get_nowait()
        except Empty:
            self._wait_for(places, attempt)
        try:
            return self._said(request, read, attempt, apart_from)
        finally:
            places.put(None)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._kept.close()

    def begin_anew(self) -> None:
        """Leave the connections to the parent of this forked process, as far as they are its."""
        for connection in self._kept.all():
            connection.close()  # this process's end of it
        self._begin()

    def _begin(self) -> None:
        self._kept = Kept(self._steady)
        # A semaphore whose every turn is not taken in Python.
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._connections):
            self._places.put(None)

    def _wait_for(self, places: "SimpleQueue[None]", attempt: Attempt) -> None:
        try:
            places.get(timeout=attempt.to_connect())
            return
        except (Empty, OutOfTime):
            pass
        raise not_connected(self._endpoint, OutOfTime())

    def _said(
        self,
        request: bytes,
        read: Callable[[Answer], Any],
        attempt: Attempt,
        apart_from: Container[object],
    ) -> Any:
        __traceback_hide__ = True
        kept = self._kept
        connection = kept.take(apart_from) or self._connected(attempt, kept)
        keeps = False
        try:
            answer = connection.ask(request, attempt)
            keeps = answer.keeps_alive and not connection.channel.is_over
            return read(answer)
        except OSError as exc:
            raise unanswered(self._endpoint, exc) from exc
        except GarbledAnswer:
            keeps = False
            raise
        finally:
            # Not in an `except`: what ends this thread leaves no answer half read, either.
            if keeps:
                if not connection.is_resumable:
                    connection.is_resumable = self._channels.answered(connection.channel)
                kept.keep(connection)
            else:
                connection.close()

    def _connected(self, attempt: Attempt, kept: Kept[_Connection]) -> _Connection:
        host, port = self._endpoint.host, self._endpoint.port
        try:
            addresses = resolving.resolver.addresses(host, port, attempt.to_connect())
            made = resolving.connected(addresses, attempt.to_connect, _new_socket)
            try:
                ends = end_of_one_made(self._steady())
                connection = _Connection(made, self._channels.new(), ends, kept)
                connection.open(attempt)
            except BaseException:
                made.close()
                raise
        except OSError as exc:
            raise not_connected(self._endpoint, exc) from exc
        return connection


def _new_socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


_transports: "WeakSet[BlockingTransport]" = WeakSet()


def _after_fork() -> None:
    for transport in list(_transports):
        transport.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
