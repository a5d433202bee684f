"""The HTTP side: `POST /` in KMS's JSON protocol on 127.0.0.1, `GET /` for a readiness probe.

The Region is read from the SigV4 `Authorization` header; the signature is not verified, so anyone
who can reach the port can call it. Therefore it listens only on loopback, and rejects a request
with another Host (as in DNS rebinding by a web page). Bodies and responses are never logged.
"""

import json
import logging
import re
import socket
import socketserver
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from .keys import KeyStore, StartError
from .request import OPERATIONS, PURPOSE, KMSError, respond

HOST = "127.0.0.1"
# A policy of 32 KB, escaped, is the largest parameter of any request.
MAX_BODY = 256 * 1024
READ_TIMEOUT = 60  # seconds, also between requests of a connection
MAX_CONNECTIONS = 512
TARGET = "TrentService."
CONTENT_TYPE = "application/x-amz-json-1.1"
LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1)(:\d{1,5})?")
CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=[^/\s,]{1,128}/\d{8}/(?P<region>[a-z0-9-]{1,32})"
    r"/kms/aws4_request,.*Signature=.*"
)

logger = logging.getLogger(__name__)


@contextmanager
def serve(
    state: Path | None, port: int, *, on_call: Callable[[str], None] = lambda name: None
) -> Iterator[str]:
    """Serve in a thread, yield the URL, and close every connection and the state at the end.

    Raises `StartError` if the port is in use or the state cannot be used.
    """
    with closing(KeyStore(state)) as store, closing(_Server(store, port, on_call)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="local-kms")
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False  # so that closing waits for the handlers

    def __init__(self, store: KeyStore, port: int, on_call: Callable[[str], None]) -> None:
        self.store = store
        self.on_call = on_call
        self._connections: set[socket.socket] = set()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise StartError(
                f"Cannot listen on {HOST}:{port}: {reason}. "
                "Stop the program that uses it, or choose another port."
            ) from None

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self._connections) < MAX_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that closed its connection is normal. For other errors only the type is logged:
        # a traceback's message could contain bytes of the request.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logger.error("The local KMS failed on a connection: %s", type(error).__name__)

    def close(self) -> None:
        """Close the listener, then all open connections; wait for their handlers."""
        self.socket.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "local-kms"
    sys_version = ""
    timeout = READ_TIMEOUT
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # one write per response

    def do_GET(self) -> None:
        if self.path == "/" and self._is_local():
            self._send(200, {"status": "ok"})
        else:
            self._send(404, {"status": "not found"})

    def do_POST(self) -> None:
        if rejection := self._find_rejection():
            # The body is not read, so the connection cannot carry another request.
            self.close_connection = True
            status, message = rejection
            self._send(status, {"__type": "SerializationException", "message": message})
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self._send(200, self._run(body))
        except KMSError as error:
            members: dict[str, object] = {"__type": error.code}
            if error.message is not None:
                members["message"] = error.message
            self._send(400, members)
        except Exception as error:  # noqa: BLE001 -- the client gets the response AWS has for it
            logger.error("The local KMS failed: %s", type(error).__name__)  # noqa: TRY400 -- see handle_error
            self._send(500, {"__type": "KMSInternalException"})

    def _run(self, body: bytes) -> Mapping[str, object]:
        target = self.headers.get("X-Amz-Target", "")
        name = target.removeprefix(TARGET)
        if self.path != "/" or not target.startswith(TARGET) or name not in OPERATIONS:
            raise KMSError(
                "UnknownOperationException", f"The local KMS has no such operation. {PURPOSE}"
            )
        if self.headers.get_content_type() != CONTENT_TYPE:
            raise KMSError("SerializationException", f"The content type is not {CONTENT_TYPE}.")
        self.server.on_call(name)
        region = _parse_region(self.headers.get("Authorization", ""))
        return respond(name, region, body, self.server.store)

    def _find_rejection(self) -> tuple[int, str] | None:
        """Return status and sentence for a request that is rejected without reading its body."""
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

    def _send(self, status: int, members: Mapping[str, object]) -> None:
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
        """Log nothing: `on_call` has the operations for tests."""


def _parse_region(authorization: str) -> str:
    """Return the Region; raise the common error of AWS services for a header without one."""
    credential = CREDENTIAL.fullmatch(authorization)
    if credential is None:
        raise KMSError(
            "IncompleteSignatureException", "Authorization is not of Signature Version 4 for kms."
        )
    return credential["region"]
