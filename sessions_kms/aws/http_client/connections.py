"""The common parts of connections in threads and event loops: TLS, trust, idle lists, and errors.

Takes an origin; returns TLS channels, idle connections and botocore's errors. Nothing here waits.
"""

import math
import select
import ssl
from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from random import uniform
from threading import Lock
from time import monotonic
from typing import Any, Final, Generic, TypeVar
from weakref import ref

from sessions_kms.aws.http_client.response import Response, ResponseReader
from sessions_kms.concurrency.deadline import Limits
from sessions_kms.http.connecting import Origin, tls_context

CONNECTIONS: Final = 64  # at one time, of a process and of each event loop
IDLE: Final = 20.0  # seconds that a connection idles at most
AGE: Final = 60.0  # seconds after which it is closed, as names may point elsewhere by then
RECORD: Final = 16 * 1024  # bytes that one record of TLS holds at most: RFC 8446, 5.1
MILLISECONDS: Final = 1000


class TlsChannel:
    """Bytes under TLS, without a socket. Raises ssl.SSLError.

    https://docs.python.org/3/library/ssl.html#memory-bio-support
    """

    def __init__(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )
        self.has_ended = False  # The other side has closed it.

    def handshake(self, data: bytes) -> tuple[bytes, bool]:
        """Feed received bytes, at first none; return bytes to send, and whether it is complete."""
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read(), False
        return self._outgoing.read(), True

    def encrypt(self, data: bytes) -> bytes:
        """Return the bytes to send, with those of TLS itself before them."""
        __traceback_hide__ = True
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self._tls.write(remaining) :]
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return the content of all records that are whole."""
        __traceback_hide__ = True
        self._incoming.write(data)
        pieces = []
        try:
            while piece := self._tls.read(RECORD):
                pieces.append(piece)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)

    def session(self) -> ssl.SSLSession | None:
        """Return what resumes it: in TLS 1.3, after the first response. RFC 8446, 4.6.1."""
        return self._tls.session


class TlsClient:
    """Creates channels to one origin, whose sessions are resumed."""

    def __init__(self, origin: Origin, authorities: str) -> None:
        if origin.tls and not authorities:
            raise ValueError("TLS needs a file of certificate authorities.")
        self._origin = origin
        self._authorities = authorities
        self._session: ssl.SSLSession | None = None

    def channel(self) -> TlsChannel | None:
        """Return a new channel, before its handshake; None without TLS. Raises OSError."""
        if not self._origin.tls:
            return None
        return TlsChannel(tls_context(self._authorities), self._origin.host, self._session)

    def save_session(self, channel: TlsChannel | None) -> bool:
        """Save what shortens the next handshake, after a response.

        Return False if it may come with a later one; to copy a session takes a while.
        """
        if channel is None:
            return True
        self._session = channel.session()
        return self._session is not None and self._session.has_ticket


class Connection:
    """A connection that serves one request at a time, and none after anything odd.

    ``expires`` is the moment from which it is too old.
    """

    def __init__(
        self, tls: TlsChannel | None, expires: float, idle: "IdleConnections[Any]"
    ) -> None:
        self.tls = tls
        self.expires = expires
        self._idle = ref(idle)  # which contains this one
        self.is_distrusted = False
        self.is_resumable = False  # No session to resume is known yet.

    def is_reusable(self) -> bool:
        """Return True if it is open, trusted, and nothing came on it unasked."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        raise NotImplementedError

    def distrust(self) -> None:
        """Close it if it is idle; otherwise its user rejects the response: it may be another's."""
        self.is_distrusted = True
        if (idle := self._idle()) is not None:
            idle.remove(self)

    def read(self, reader: ResponseReader, data: bytes) -> tuple[bool, Response | None]:
        """Feed received bytes, b"" for the end; return if a response has begun, and it, once whole.

        Raises InvalidResponse, ssl.SSLError, or ConnectionResetError where the connection ended.
        """
        __traceback_hide__ = True
        tls = self.tls
        plain = data if tls is None or not data else tls.decrypt(data)
        if plain and (response := reader.receive_data(plain)) is not None:
            return True, response
        if not data or (tls is not None and tls.has_ended):
            reader.receive_end()
            raise ConnectionResetError("The connection was closed without a response.")
        return bool(plain), None


C = TypeVar("C", bound=Connection)


class IdleConnections(Generic[C]):
    """A stack, for many threads: the freshest is used first, so that the others grow old."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._lock = Lock()
        self._idle: deque[tuple[float, C]] = deque()  # since when; the oldest on the left

    def take(self, exclude: Container[object] = ()) -> C | None:
        """Take one that can be used, apart from the excluded ones; close those that cannot."""
        passed_over: list[tuple[float, C]] = []
        try:
            while True:
                try:
                    entry = self._idle.pop()  # atomic
                except IndexError:
                    return None
                since, connection = entry
                if connection in exclude:
                    passed_over.append(entry)
                    continue
                now = self._steady()
                if now - since < IDLE and now < connection.expires and connection.is_reusable():
                    return connection
                connection.close()
        finally:
            if passed_over:
                self._idle.extend(reversed(passed_over))

    def remove(self, connection: C) -> None:
        """Close one if it is idle."""
        for entry in list(self._idle):
            if entry[1] is connection:
                with suppress(ValueError):  # Another thread has just taken it.
                    self._idle.remove(entry)
                    connection.close()

    def put(self, connection: C) -> None:
        """Put one back; close the one that has been idle longest, if too long."""
        now, stale = self._steady(), None
        with self._lock:
            self._idle.append((now, connection))
            try:
                if now - self._idle[0][0] >= IDLE:
                    _, stale = self._idle.popleft()
            except IndexError:
                pass  # Another thread has just taken the last one.
        if stale is not None:
            stale.close()

    def close(self) -> None:
        """Close all."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    def all(self) -> list[C]:
        """Return all, without waiting for a lock that a forked parent may hold."""
        return [connection for _, connection in self._idle]


def expiry_of_new(now: float) -> float:
    """Return when a new connection is too old; those of one moment expire at different ones."""
    return now + uniform(0.8, 1) * AGE  # noqa: S311 - only spreads


class Pool:
    """One origin's connections, up to so many at one time.

    ``authorities`` is the file of the certificate authorities that TLS trusts.
    """

    def __init__(
        self,
        origin: Origin,
        authorities: str = "",
        *,
        limits: Limits | None = None,
        connections: int = CONNECTIONS,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._origin = origin
        self._tls = TlsClient(origin, authorities)
        self._limits = limits
        self._connections = connections
        self._steady = steady

    def _put_back(self, connection: C, idle: IdleConnections[C], is_reusable: bool) -> None:
        if not is_reusable:
            connection.close()
            return
        if not connection.is_resumable:
            connection.is_resumable = self._tls.save_session(connection.tls)
        idle.put(connection)

    def _not_connected(self, exc: OSError) -> Exception:
        """Return botocore's error for a request without a connection: nothing was sent."""
        from botocore import exceptions

        if isinstance(exc, TimeoutError):
            return exceptions.ConnectTimeoutError(endpoint_url=self._origin.url, error=exc)
        if isinstance(exc, ssl.SSLError):  # boto's name for it, which tells of the certificate
            return exceptions.SSLError(endpoint_url=self._origin.url, error=exc)
        return exceptions.EndpointConnectionError(endpoint_url=self._origin.url, error=exc)

    def _no_response(self, exc: OSError) -> Exception:
        """Return botocore's error for a request that was sent, in part at least."""
        from botocore import exceptions

        if isinstance(exc, TimeoutError):
            return exceptions.ReadTimeoutError(endpoint_url=self._origin.url, error=exc)
        return exceptions.ConnectionClosedError(endpoint_url=self._origin.url, error=exc)


def return_response(response: Response) -> Response:
    """Return a response as it is, for a caller that does not parse it."""
    return response


def poll_readable(socket: int) -> Callable[[float], object]:
    """Return a function that waits so many milliseconds for anything to read, bytes or the end.

    It returns something true unless it timed out. It is the system's own, without a wrapper.
    """
    if not hasattr(select, "poll"):  # on Windows
        return lambda left: any(select.select([socket], [], [socket], left / MILLISECONDS))
    poll = select.poll()
    poll.register(socket, select.POLLIN | select.POLLPRI)
    return poll.poll


def wait_writable(socket: int, seconds: float) -> bool:
    """Wait until more can be written to a socket, or it has an error; False after a timeout."""
    if not hasattr(select, "poll"):
        return any(select.select([], [socket], [socket], seconds))
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    return bool(poll.poll(math.ceil(seconds * MILLISECONDS)))
