"""botocore's session: bounded waits, strict parsing, and signatures by the corrected clock.

botocore's own timeouts bound a single wait: a response that trickles in holds a caller for as
long as it likes, and a name server for 30 seconds. Here every socket asks the attempt under way
(`concurrency.deadline`) how long it may wait. Imports botocore, so it is imported at the first
call only.
"""

import base64
import gzip
import json
import socket
import ssl
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import botocore.loaders
import botocore.session
from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSRequest,
    AWSResponse,
)
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import ConnectTimeoutError as URLLib3ConnectTimeout
from urllib3.exceptions import NameResolutionError, NewConnectionError

from sessions_kms.aws.credentials import SharedCredentials
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Limits, OutOfTime
from sessions_kms.http import connecting

# AWS refuses a signature that is five minutes off. Requests for a role's credentials are signed by
# the machine's clock, by which the credentials expire, too.
SIGNED_BY_CORRECTED_CLOCK = {"dynamodb", "kms"}
SIGNED_AT = "sessions_kms_signed_at"
SIGNATURE_VERSION = "sessions_kms-v4"


class BoundedBotoSession(botocore.session.Session):
    """A session whose clients, and whose search for credentials, wait for a bounded time."""

    def __init__(self, *args: Any, signing_time: Callable[[], float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signing_time = signing_time
        self._shared_credentials = SharedCredentials(self._find_credentials)
        # Lenient base64 skips invalid characters, and decodes to other bytes than were sent.
        self.get_component("response_parser_factory").set_parser_defaults(
            blob_parser=partial(base64.b64decode, validate=True)
        )
        self.register("response-received.dynamodb", _check_crc32)
        self.get_component("data_loader").file_loader = PlainDictLoader()

    def create_client(self, *args: Any, **kwargs: Any) -> Any:
        """Return a client; boto's own clients, which assume roles, are created here, too."""
        client: Any = super().create_client(*args, **kwargs)
        client._endpoint.http_session = BoundedHTTPSession.copy_of(client._endpoint.http_session)
        if client.meta.service_model.service_name in SIGNED_BY_CORRECTED_CLOCK:
            _sign_by_clock(client, self._signing_time)
        return client

    def get_credentials(self, **kwargs: Any) -> Any:
        """Return credentials that are fetched at their first use, not when a client is created."""
        return self._shared_credentials

    def _find_credentials(self) -> Any:
        """Search boto's chain, with bounded requests to the metadata services."""
        resolver = self.get_component("credential_provider")
        for provider in resolver.providers:
            for name in ("_fetcher", "_role_fetcher"):  # of containers, of machines
                fetcher = getattr(provider, name, None)
                if fetcher is not None and hasattr(fetcher, "_session"):
                    fetcher._session = BoundedHTTPSession.copy_of(fetcher._session)
        return resolver.load_credentials()


class PlainDictLoader(botocore.loaders.JSONFileLoader):
    """Loads boto's models into plain dicts, which keep the order, too.

    boto builds OrderedDicts of 1.3 MB of JSON, which takes 15 ms more at a process's first call.
    """

    def load_file(self, file_path: str) -> Any:
        """Return the content of a file, whose name is given without its ending, or None."""
        for name, opener in ((f"{file_path}.json", open), (f"{file_path}.json.gz", gzip.open)):
            if Path(name).is_file():
                with opener(name, "rb") as file:
                    return json.load(file)
        return None


def _check_crc32(**event: Any) -> None:
    """Reject a body whose checksum is not the one that DynamoDB sent along."""
    response = event.get("response_dict") or {}
    expected = response.get("headers", {}).get("x-amz-crc32")
    if expected is not None and expected != str(zlib.crc32(response["body"])):
        raise InvalidResponse


class CorrectedSigV4Auth(SigV4Auth):
    """boto's own signature, for the time in the request's context.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
    """

    # Not in the stubs.
    _modify_request_before_signing: Callable[[AWSRequest], None]
    _inject_signature_to_request: Callable[[AWSRequest, str], AWSRequest]

    def add_auth(self, request: AWSRequest) -> None:
        """Sign a request."""
        if self.credentials is None:
            raise NoCredentialsError
        signed_at = datetime.fromtimestamp(request.context[SIGNED_AT], UTC)
        request.context["timestamp"] = signed_at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        canonical_request = self.canonical_request(request)
        string_to_sign = self.string_to_sign(request, canonical_request)
        self._inject_signature_to_request(request, self.signature(string_to_sign, request))


AUTH_TYPE_MAPS[SIGNATURE_VERSION] = CorrectedSigV4Auth


def _sign_by_clock(client: Any, now: Callable[[], float]) -> None:
    def choose(signature_version: object, context: dict[str, Any], **_: Any) -> str | None:
        if signature_version != "v4":
            return None
        context[SIGNED_AT] = now()
        return SIGNATURE_VERSION

    client.meta.events.register_first("choose-signer", choose)


class _BoundedWaits:
    """A socket that waits for as long as the attempt under way has left.

    Outside an attempt, such as when a pool is closed, its own timeout applies.
    """

    def recv(self, *args: Any) -> bytes:
        self._bound_read()
        data: bytes = super().recv(*args)  # type: ignore[misc]
        return data

    def recv_into(self, *args: Any) -> int:
        self._bound_read()
        read: int = super().recv_into(*args)  # type: ignore[misc]
        if (attempt := deadline.attempt()) is not None:
            attempt.has_response = True
        return read

    def send(self, *args: Any) -> int:
        self._bound_write()
        sent: int = super().send(*args)  # type: ignore[misc]
        return sent

    def sendall(self, *args: Any) -> None:
        self._bound_write()
        super().sendall(*args)  # type: ignore[misc]

    def do_handshake(self, *args: Any) -> None:
        if (attempt := deadline.attempt()) is not None:
            self.settimeout(attempt.to_connect())
        super().do_handshake(*args)  # type: ignore[misc]

    def settimeout(self, seconds: float | None) -> None:
        super().settimeout(seconds)  # type: ignore[misc]

    def _bound_read(self) -> None:
        if (attempt := deadline.attempt()) is not None:
            self.settimeout(attempt.to_read())

    def _bound_write(self) -> None:
        if (attempt := deadline.attempt()) is not None:
            self.settimeout(attempt.to_write())


class _Socket(_BoundedWaits, socket.socket):
    pass


class _TLSSocket(_BoundedWaits, ssl.SSLSocket):
    pass


class _BoundedConnect:
    """A connection that resolves its name, and connects, within what the attempt has left."""

    _dns_host: str
    host: str
    port: int
    source_address: tuple[str, int] | None
    socket_options: list[tuple[int, int, int | bytes]] | None

    def _new_conn(self) -> socket.socket:
        attempt = deadline.attempt() or deadline.Attempt(deadline.HASTY)
        try:
            addresses = connecting.resolver.resolve(
                self._dns_host.strip("[]"), self.port, attempt.to_connect()
            )
            connected = connecting.connect(addresses, attempt.to_connect, self._create_socket)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]
        except TimeoutError as exc:
            raise URLLib3ConnectTimeout(self, "timed out") from exc
        except OSError as exc:
            raise NewConnectionError(self, str(exc)) from exc  # type: ignore[arg-type]
        sys.audit("http.client.connect", self, self.host, self.port)
        return connected

    def _create_socket(self, family: int) -> socket.socket:
        created = _Socket(family, socket.SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                created.setsockopt(*option)
            if self.source_address:
                created.bind(self.source_address)
        except BaseException:
            created.close()
            raise
        return created


# The stubs of botocore and urllib3 disagree about the signatures of what is inherited here.
class _Connection(_BoundedConnect, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _TLSConnection(_BoundedConnect, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class BoundedHTTPSession(URLLib3Session):
    """An HTTP session that gives each request one attempt of bounded length."""

    limits: Limits | None = None  # `deadline.HASTY` unless others are set

    @classmethod
    def copy_of(cls, session: URLLib3Session) -> Self:
        """Return one with the settings of a session of botocore's, which takes no class."""
        bounded: Any = cls.__new__(cls)
        bounded.__dict__.update(vars(session))
        bounded._pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        bounded._manager.pool_classes_by_scheme = bounded._pool_classes_by_scheme
        bounded._manager.connection_pool_kw["ssl_context"] = bounded._get_ssl_context()
        return cast("Self", bounded)

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()  # type: ignore[misc]  # not in the stubs
        context.sslsocket_class = _TLSSocket
        return context

    def send(self, request: AWSRequest | AWSPreparedRequest) -> AWSResponse:
        """Send a request and receive its response. Raises as botocore's own does."""
        try:
            with deadline.attempting(self.limits or deadline.HASTY) as attempt:
                return self._send_within(attempt, request)
        except OutOfTime as exc:  # The attempt did not start.
            raise ConnectTimeoutError(endpoint_url=str(request.url), error=exc) from exc

    def _send_within(
        self, attempt: deadline.Attempt, request: AWSRequest | AWSPreparedRequest
    ) -> AWSResponse:
        try:
            return super().send(request)
        except ConnectionClosedError as exc:
            if not attempt.is_over():
                raise
            # A peer that does not read the request in time is a timeout, too.
            raise ReadTimeoutError(endpoint_url=str(request.url), error=exc) from exc
