"""botocore's HTTP session, every wait of which ends: its sockets ask how long they may wait.

botocore's own time-outs are those of a single wait: an answer that trickles in holds it for
as long as it likes, and a name server for 30 seconds. Imports botocore, so it is imported
at the first call only.
"""

import socket
import ssl
import sys
from typing import Any, Self, cast

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSRequest,
    AWSResponse,
)
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import ConnectTimeoutError as NotConnectedInTime
from urllib3.exceptions import NameResolutionError, NewConnectionError

from sessions_kms.aws import resolving
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Limits, OutOfTime


class _Hasty:
    """A socket that waits for as long as the attempt under way has left.

    Without an attempt, when a pool is closed say, its own time-out holds.
    """

    def recv(self, *args: Any) -> bytes:
        self._may_read()
        data: bytes = super().recv(*args)  # type: ignore[misc]
        return data

    def recv_into(self, *args: Any) -> int:
        self._may_read()
        read: int = super().recv_into(*args)  # type: ignore[misc]
        self._heard()
        return read

    def send(self, *args: Any) -> int:
        self._may_write()
        sent: int = super().send(*args)  # type: ignore[misc]
        return sent

    def sendall(self, *args: Any) -> None:
        self._may_write()
        super().sendall(*args)  # type: ignore[misc]

    def do_handshake(self, *args: Any) -> None:
        if (attempt := deadline.attempt()) is not None:
            self.settimeout(attempt.to_connect())
        super().do_handshake(*args)  # type: ignore[misc]

    def settimeout(self, seconds: float | None) -> None:
        super().settimeout(seconds)  # type: ignore[misc]

    def _may_read(self) -> None:
        if (attempt := deadline.attempt()) is not None:
            self.settimeout(attempt.to_read())

    def _may_write(self) -> None:
        if (attempt := deadline.attempt()) is not None:
            self.settimeout(attempt.to_write())

    @staticmethod
    def _heard() -> None:
        if (attempt := deadline.attempt()) is not None:
            attempt.heard = True


class _Socket(_Hasty, socket.socket):
    pass


class _TLSSocket(_Hasty, ssl.SSLSocket):
    pass


class _Connects:
    """A connection that looks its name up, and connects, within what the attempt has left."""

    _dns_host: str
    host: str
    port: int
    source_address: tuple[str, int] | None
    socket_options: list[tuple[int, int, int | bytes]] | None

    def _new_conn(self) -> socket.socket:
        attempt = deadline.attempt() or deadline.Attempt(deadline.HASTY)
        try:
            addresses = resolving.resolver.addresses(
                self._dns_host.strip("[]"), self.port, attempt.to_connect()
            )
            made = resolving.connected(addresses, attempt.to_connect, self._socket)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]
        except TimeoutError as exc:
            raise NotConnectedInTime(self, "timed out") from exc
        except OSError as exc:
            raise NewConnectionError(self, str(exc)) from exc  # type: ignore[arg-type]
        sys.audit("http.client.connect", self, self.host, self.port)
        return made

    def _socket(self, family: int) -> socket.socket:
        made = _Socket(family, socket.SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                made.setsockopt(*option)
            if self.source_address:
                made.bind(self.source_address)
        except BaseException:
            made.close()
            raise
        return made


# The stubs of botocore and urllib3 disagree about the signatures of what is inherited here.
class _Connection(_Connects, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _TLSConnection(_Connects, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class BoundedSession(URLLib3Session):
    """An HTTP session that gives each request one attempt of bounded length."""

    limits: Limits | None = None  # those of `deadline.HASTY` unless others are set

    @classmethod
    def like(cls, made: URLLib3Session) -> Self:
        """Return one with the settings of a session that botocore made: it takes no class."""
        bounded: Any = cls.__new__(cls)
        bounded.__dict__.update(vars(made))
        bounded._pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        bounded._manager.pool_classes_by_scheme = bounded._pool_classes_by_scheme
        bounded._manager.connection_pool_kw["ssl_context"] = bounded._get_ssl_context()
        return cast("Self", bounded)

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()  # type: ignore[misc]  # not in the stubs
        context.sslsocket_class = _TLSSocket
        return context

    def send(self, request: AWSRequest | AWSPreparedRequest) -> AWSResponse:
        """Send a request and receive its answer. Raises as botocore's own does."""
        try:
            with deadline.attempting(self.limits or deadline.HASTY) as attempt:
                return self._sent(request, attempt)
        except OutOfTime as exc:  # It has not begun.
            raise ConnectTimeoutError(endpoint_url=str(request.url), error=exc) from exc

    def _sent(
        self, request: AWSRequest | AWSPreparedRequest, attempt: deadline.Attempt
    ) -> AWSResponse:
        try:
            return super().send(request)
        except ConnectionClosedError as exc:
            if not attempt.is_over():
                raise
            # What is not taken off our hands in time is a time-out, too.
            raise ReadTimeoutError(endpoint_url=str(request.url), error=exc) from exc
