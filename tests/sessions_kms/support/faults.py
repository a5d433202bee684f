"""Faults of AWS: an HTTP proxy in front of a local service, with configurable faults.

A rule has an operation, a fault, and the number of times it occurs. All traffic is recorded. The
proxy knows HTTP and the names of operations, but not their meaning.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.support.http_server import serve

HOLD_MAX = 30  # seconds after which a held request ends


class Response(NamedTuple):
    """An HTTP response; ``length`` is its Content-Length, if it differs from the body's."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int | None = None


class Dropped(Exception):
    """Close the connection without a response."""


@dataclass(frozen=True)
class Exchange:
    """One request; ``forward`` passes it to the service."""

    operation: str
    body: bytes
    forward: Callable[[], Response]
    closing: threading.Event
    signed_at: str = ""  # the date in SigV4's format


Fault = Callable[[Exchange], Response]


@dataclass
class _Rule:
    operation: str
    fault: Fault
    times: int | None
    matching: bytes


@dataclass
class FaultProxy:
    """A running proxy: ``operations`` are the requested operations, ``wire`` all their bytes.

    ``responses`` are the bodies from the service, before faults changed them.
    """

    url: str
    operations: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(
        self, operation: str, fault: Fault, *, times: int | None = None, matching: bytes = b""
    ) -> None:
        """Apply a fault to an operation (with ``matching`` in its body), always or n times."""
        self._rules.append(_Rule(operation, fault, times, matching))

    def heal(self) -> None:
        """Remove all rules and records."""
        with self._lock:
            for record in (self._rules, self.operations, self.requests, self.wire, self.responses):
                record.clear()

    def handle(self, exchange: Exchange) -> Response:
        with self._lock:
            self.operations.append(exchange.operation)
            self.requests.append((exchange.operation, json.loads(exchange.body)))
            rule = next((rule for rule in self._rules if self._strikes(rule, exchange)), None)
            if rule and rule.times:
                rule.times -= 1
        return rule.fault(exchange) if rule else exchange.forward()

    @staticmethod
    def _strikes(rule: _Rule, exchange: Exchange) -> bool:
        return (
            rule.operation == exchange.operation
            and rule.times != 0
            and rule.matching in exchange.body
        )


# Faults


def error(code: str, status: int = 400, **members: Any) -> Fault:
    """Respond with an error of AWS; the service does not get the request."""
    return respond_with(
        json.dumps({"__type": code, "message": "injected", **members}).encode(), status
    )


def respond_with(body: bytes, status: int = 200) -> Fault:
    """Respond with these bytes; the service does not get the request."""
    return lambda _: Response(status, {}, body)


def apply_and(fault: Fault) -> Fault:
    """Forward the request, then apply the fault to the response."""

    def after_the_fact(exchange: Exchange) -> Response:
        exchange.forward()
        return fault(exchange)

    return after_the_fact


def change_response(change: Callable[[bytes], bytes], *, status: int | None = None) -> Fault:
    """Forward, and change the bytes of the response."""

    def change_response(exchange: Exchange) -> Response:
        honest = exchange.forward()
        return honest._replace(body=change(honest.body), status=status or honest.status)

    return change_response


def cut_off(exchange: Exchange) -> Response:
    """Forward, and close the connection in the middle of the response."""
    honest = exchange.forward()
    return honest._replace(body=honest.body[: len(honest.body) // 2], length=len(honest.body))


def claim_shorter(exchange: Exchange) -> Response:
    """Forward, with a Content-Length one byte short: the rest stays in the connection."""
    honest = exchange.forward()
    return honest._replace(length=len(honest.body) - 1)


def delay(exchange: Exchange) -> Response:
    exchange.closing.wait(0.05)
    return exchange.forward()


def drop_connection(exchange: Exchange) -> Response:
    raise Dropped


def hold_exchange(exchange: Exchange) -> Response:
    """Do not respond until the proxy ends."""
    exchange.closing.wait(HOLD_MAX)
    raise Dropped


# The proxy


@contextmanager
def running_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of a local service until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.upstream = urlsplit(upstream).netloc
    server.proxy = FaultProxy(f"http://127.0.0.1:{server.server_port}")
    with serve(server):
        yield server.proxy


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for the handlers
    upstream: str
    proxy: FaultProxy

    def __init__(self, *args: Any) -> None:
        self.closing = threading.Event()
        self._connections: set[Any] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: the client has disconnected."""

    def server_close(self) -> None:
        self.closing.set()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # one write per response

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection(self.server.upstream, timeout=HOLD_MAX)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.proxy.wire.append(self.requestline.encode() + bytes(self.headers) + body)
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        exchange = Exchange(
            operation,
            body,
            lambda: self._forward(body),
            self.server.closing,
            self.headers.get("X-Amz-Date", ""),
        )
        try:
            self._send(self.server.proxy.handle(exchange))
        except Dropped:
            self.close_connection = True

    def _forward(self, request: bytes) -> Response:
        headers = {name: text for name, text in self.headers.items() if name != "Connection"}
        headers["Host"] = self.server.upstream
        self._upstream.request("POST", self.path, request, headers)
        got = self._upstream.getresponse()
        kept = {name: text for name, text in got.getheaders() if name.startswith("x-amz")}
        kept.pop("x-amz-crc32", None)  # It would reveal each fault, if the service sends it.
        body = got.read()
        self.server.proxy.responses.append(body)
        return Response(got.status, kept, body)

    def _send(self, made: Response) -> None:
        length = len(made.body) if made.length is None else made.length
        if length > len(made.body):
            self.close_connection = True  # The rest of the body never comes.
        self.send_response(made.status)
        for name, text in made.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(made.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Log nothing."""
