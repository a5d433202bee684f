"""Metrics of requests and of calls to upstreams, as OpenTelemetry names them.

The values of attributes come from the configuration and from closed lists: a client cannot create
series. https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import perf_counter
from typing import Final

from gateway_site.edge.client import Scope
from sessions_kms.telemetry import ERROR_TYPE, Telemetry

OTHER: Final = "_OTHER"
UPSTREAM_ERROR: Final = "upstream"  # `error.type` of a request
# https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/#http-request-method
METHODS: Final = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
)
# Those that are registered, and the one for a client that is gone. OpenTelemetry keeps 2,000 series
# of a metric: an upstream that made up more statuses would hide others.
STATUSES: Final = frozenset({499, *HTTPStatus})
METHOD, STATUS = "http.request.method", "http.response.status_code"
ROUTE, SCHEME, UPSTREAM = "http.route", "url.scheme", "gateway.upstream"

http = Telemetry("gateway_site", prefix="http")
gateway = Telemetry("gateway_site", prefix="gateway")


def record_request(
    scope: Scope,
    status: int,
    seconds: float,
    *,
    route: str | None,
    upstream: str | None,
    is_upstream_error: bool,
) -> None:
    """Record how long a request took; ``route`` is the pattern of its URL, not its path."""
    if not http.is_enabled:
        return
    attributes: dict[str, str | int] = {
        METHOD: _method(scope["method"]),
        SCHEME: scope["scheme"] if scope["scheme"] in {"http", "https"} else OTHER,
        **_status(status),
    }
    if route is not None:
        attributes[ROUTE] = route
    if upstream is not None:
        attributes[UPSTREAM] = upstream
    if is_upstream_error:
        attributes[ERROR_TYPE] = UPSTREAM_ERROR
    http.record("server.request.duration", seconds, **attributes)


class TimedCall:
    """The time of one request to an upstream, until the head of its response."""

    def __init__(self, upstream: str, host: str, method: str) -> None:
        self._upstream = upstream
        self._host = host
        self._method = method
        self._began = perf_counter()

    def note_response(self, status: int) -> None:
        """Record that the upstream responded."""
        if http.is_enabled:
            self._record(_status(status))

    def failed(self, error: Exception) -> None:
        """Record that it did not."""
        if http.is_enabled:
            self._record({ERROR_TYPE: type(error).__name__})

    def _record(self, outcome: dict[str, str | int]) -> None:
        attributes: dict[str, str | int] = {
            METHOD: _method(self._method),
            "server.address": self._host,
            UPSTREAM: self._upstream,
            **outcome,
        }
        http.record("client.request.duration", perf_counter() - self._began, **attributes)


@contextmanager
def open_stream(upstream: str) -> Iterator[None]:
    """Count an event stream while the block runs."""
    gateway.add("streams", 1, **{UPSTREAM: upstream})
    try:
        yield
    finally:
        gateway.add("streams", -1, **{UPSTREAM: upstream})


def _method(method: str) -> str:
    return method if method in METHODS else OTHER


def _status(status: int) -> dict[str, str | int]:
    """Return the status, and the type of an error.

    A status that an upstream has made up counts as RFC 9110 section 15 says: as x00 of its class.
    """
    known: int | str = int(status) if status in STATUSES else OTHER
    if known == OTHER and 100 <= status <= 599:
        known = status // 100 * 100
    found: dict[str, str | int] = {STATUS: known}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        found[ERROR_TYPE] = str(known)
    return found
