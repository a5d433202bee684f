"""The HTTP side: `POST /` in KMS's JSON protocol on loopback, `GET /` for a readiness probe.

The caller and its Region are read from the SigV4 `Authorization` header; the signature is not
verified, so whoever reaches the port may be anyone. That is why nothing but loopback is listened
on, and why a request whose Host is another name (a web page, by DNS rebinding) is refused.
Bodies and answers are never logged.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import socket
import socketserver
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from .errors import CannotStart, KMSError
from .keys import KeyStore
from .protocol import OPERATIONS, REGION, Caller, dispatch

# A policy of 131072 characters, escaped, is the largest member of any request.
MAX_BODY = 512 * 1024
READ_TIMEOUT = 60  # seconds, between requests of a kept connection too
MAX_CONNECTIONS = 512
TARGET = "TrentService."
CONTENT_TYPE = "application/x-amz-json-1.1"
LOOPBACK_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")
CREDENTIAL = re.compile(
    rf"AWS4-HMAC-SHA256 +Credential=(?P<key>[^/\s,]{{1,128}})/\d{{8}}/(?P<region>{REGION})"
    r"/(?P<service>[a-z0-9-]+)/aws4_request,.*Signature=.*"
)

logger = logging.getLogger(__name__)


@dataclass
class LocalKMS:
    """A running KMS: where it listens, and the names of the operations it got, in order."""

    url: str
    calls: list[str] = field(default_factory=list)


@contextmanager
def running_kms(
    state: Path | None = None,
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    clock: Callable[[], float] = time.time,
) -> Iterator[LocalKMS]:
    """Serve in a thread until the block ends; `state` None keeps keys in memory only.

    Raises `CannotStart` when the port is taken, the host is not loopback or the state is not
    usable. Names of operations pile up in `calls`: this is for tests.
    """
    calls: list[str] = []
    with serving(state, port, host=host, clock=clock, on_call=calls.append) as url:
        yield LocalKMS(url, calls)


@contextmanager
def serving(
    state: Path | None,
    port: int,
    *,
    host: str = "127.0.0.1",
    clock: Callable[[], float] = time.time,
    on_call: Callable[[str], None] = lambda name: None,
) -> Iterator[str]:
    """Serve in a thread, yield the URL, and close every connection and the state at the end."""
    server = _Server(_address(host, port), clock, on_call)
    try:
        server.store = KeyStore(state)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="local-kms")
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
    finally:
        server.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False  # so that closing waits for the handlers
    store: KeyStore

    def __init__(
        self, address: tuple[str, int], clock: Callable[[], float], on_call: Callable[[str], None]
    ) -> None:
        self.clock = clock
        self.on_call = on_call
        self._connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise CannotStart(
                f"{address[0]}:{address[1]} cannot be listened on: {error.strerror}. "
                "Stop what uses it or choose another port."
            ) from None

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self._connections) < MAX_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no news; of anything else only the kind is told, because
        # a traceback's message could carry bytes of the request.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logger.error("The local KMS failed on a connection: %s", type(error).__name__)

    def close(self) -> None:
        """Close the listener, then every kept connection; wait for their handlers."""
        self.socket.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        if hasattr(self, "store"):
            self.store.close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "local-kms"
    sys_version = ""
    timeout = READ_TIMEOUT
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # one write an answer

    def do_GET(self) -> None:
        if self.path == "/" and self._is_local():
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"status": "not found"})

    def do_POST(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._refuse(*refusal)
            return
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self._refuse(400, "The request ended early.")
            return
        try:
            self._answer(200, self._run(body))
        except KMSError as error:
            message = {} if error.message is None else {"message": error.message}
            self._answer(error.status, {"__type": error.code, **message})
        except Exception as error:  # noqa: BLE001 -- the client gets the answer AWS has for it
            logger.error("The local KMS failed: %s", type(error).__name__)  # noqa: TRY400 -- see handle_error
            self._answer(500, {"__type": "KMSInternalException"})

    def _run(self, body: bytes) -> Mapping[str, object]:
        target = self.headers.get("X-Amz-Target", "")
        name = target.removeprefix(TARGET)
        if self.path != "/" or not target.startswith(TARGET) or name not in OPERATIONS:
            raise KMSError("UnknownOperationException", "This local KMS has no such operation.")
        if self.headers.get_content_type() != CONTENT_TYPE:
            raise KMSError("SerializationException", f"The content type is not {CONTENT_TYPE}.")
        self.server.on_call(name)
        caller = _caller(self.headers.get("Authorization"))
        return dispatch(name, caller, body, self.server.store, self.server.clock())

    def _refusal(self) -> tuple[int, str] | None:
        """Return the status and sentence for a request whose body is not even read."""
        length = self.headers.get("Content-Length", "")
        if not self._is_local():
            return 403, "The Host header does not name this machine."
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"\d{1,9}", length, re.ASCII):
            return 411, "The request needs a Content-Length."
        if int(length) > MAX_BODY:
            return 413, f"The request is larger than {MAX_BODY} bytes."
        return None

    def _is_local(self) -> bool:
        return LOOPBACK_HOST.fullmatch(self.headers.get("Host", "")) is not None

    def _refuse(self, status: int, message: str) -> None:
        # The body was not read, so the connection cannot carry another request.
        self.close_connection = True
        self._answer(status, {"__type": "SerializationException", "message": message})

    def _answer(self, status: int, members: Mapping[str, object]) -> None:
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing: `LocalKMS.calls` tells tests what was asked."""


def _caller(authorization: str | None) -> Caller:
    """Return who calls; raise the common errors of AWS services for a header that is not whole."""
    if not authorization:
        raise KMSError("MissingAuthenticationTokenException", "Missing Authentication Token")
    credential = CREDENTIAL.fullmatch(authorization)
    if credential is None:
        raise KMSError(
            "IncompleteSignatureException", "Authorization is not of Signature Version 4."
        )
    if credential["service"] != "kms":
        raise KMSError(
            "InvalidSignatureException", "Credential should be scoped to correct service: 'kms'."
        )
    return Caller(credential["key"], credential["region"])


def _address(host: str, port: int) -> tuple[str, int]:
    """Return where to listen; raise `CannotStart` for anything but loopback."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise CannotStart(f"{host} is not an IP address: use 127.0.0.1.") from None
    if not address.is_loopback:
        raise CannotStart(f"{host} is not loopback, and this KMS is for this machine only.")
    if not 0 <= port <= 65535:
        raise CannotStart(f"{port} is not a port: use 0 to 65535.")
    return str(address), port
