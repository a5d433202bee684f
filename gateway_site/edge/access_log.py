"""The access log: one line per request, with its id, user, path, status and duration.

The log format adds the time. Health checks have no line. Only the path of an address is logged: the
query of a callback contains the authorization code. The id is the `X-Request-ID` of a trusted
proxy, or generated here. It is returned in the response, and every log line written for the request
begins with it.
"""

import logging
import os
import re
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import Any

from gateway_site.edge.client import ASGIApplication, Receive, Scope, Send, body_of
from gateway_site.edge.http_metrics import record_request
from gateway_site.edge.trusted_proxies import TRUSTED
from gateway_site.health.middleware import PATHS

logger = logging.getLogger("gateway_site.access")

KEY = "gateway.request"
REQUEST_ID, ARRIVED = "request_id", "arrived"  # a request's attributes
HEADER = b"x-request-id"
ID = re.compile(rb"[A-Za-z0-9._:=-]{1,128}")
PATH_LENGTH = 200
UNKNOWN = "-"
GONE = 499  # nginx's status for a client that disconnected before the response


@dataclass(frozen=True)
class CheckedMessage:
    """What the rules of an upstream found in the MCP message of a call, for the audit log.

    ``rule`` is the line that decided, ``policy`` the digest of the rules.
    """

    protocol: str | None = None
    method: str | None = None
    tool: str | None = None
    rule: str | None = None
    policy: str | None = None


@dataclass
class LogEntry:
    """What is known of a request while it is served; others add user, client and upstream."""

    id: str
    user: str = UNKNOWN
    client: str = UNKNOWN
    upstream: str = UNKNOWN
    upstream_status: int | None = None  # of its response; 502 if it failed
    route: str | None = None  # the pattern of the URL
    status: int = GONE
    checked: CheckedMessage | None = None  # None if the message was not read
    is_sent: bool = False  # whether an upstream may have received it
    began: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return perf_counter() - self.began

    @property
    def is_upstream_error(self) -> bool:
        """Whether it ends with an error that an upstream made, or caused."""
        if self.status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}:
            return True  # The gateway has no other use for them.
        return self.status >= 500 and (self.upstream_status or 0) >= 400

    @property
    def duration_ms(self) -> int:
        """The same in whole milliseconds."""
        return int(self.seconds * 1000)


_current: ContextVar[LogEntry | None] = ContextVar("gateway_request", default=None)


def entry_of(scope: Scope) -> LogEntry | None:
    """Return the entry of a request; None under an application without this log."""
    found: LogEntry | None = scope.get(KEY)
    return found


def note_request(request: Any) -> None:
    """Give a request the id and the beginning of its entry."""
    if entry := entry_of(request.scope):
        setattr(request, REQUEST_ID, entry.id)
        setattr(request, ARRIVED, entry.began)


def current_entry() -> LogEntry | None:
    """Return the entry of the request that this task or thread serves."""
    return _current.get()


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that logs a line for each request of the given one."""

    async def serve_logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope["root_path"]) in PATHS:
            await application(scope, receive, send)
            return
        request = LogEntry(_id_of(scope))

        def send_with_id(message: Mapping[str, Any]) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                # An upstream's own id is not in this log.
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != HEADER]
                headers = [*kept, (HEADER, request.id.encode("ascii"))]
                message = {**message, "headers": headers}
            return send(message)

        token = _current.set(request)
        try:
            await application({**scope, KEY: request}, receive, send_with_id)
        except Exception:
            request.status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            if request.status == GONE and (body := body_of(scope)) and body.has_ended:
                request.status = HTTPStatus.REQUEST_TIMEOUT
            _log(scope, request)
            _record(scope, request)
            _current.reset(token)

    return serve_logged


class RequestIds(logging.Filter):
    """Adds the id of the current request, or `-`, to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record."""
        request = _current.get()
        record.request_id = UNKNOWN if request is None else request.id
        return True


class RejectionFilter(logging.Filter):
    """Drops Django's records of rejected requests that have their line here.

    Expired codes, challenges and probed addresses are routine for OAuth clients, and Django logs a
    warning for each, which has no more than status and path. The same goes for a 503: the code that
    answers it logs the cause (`sessions_kms.outages`).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep failures, records with a traceback, and rejections without a line."""
        status = getattr(record, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR)
        if record.exc_info or status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return True
        return status != HTTPStatus.SERVICE_UNAVAILABLE and _current.get() is None


def _id_of(scope: Scope) -> str:
    if scope.get(TRUSTED):
        sent = [value for name, value in scope["headers"] if name == HEADER]
        if len(sent) == 1 and ID.fullmatch(sent[0]):
            return str(sent[0], "ascii")
    return os.urandom(8).hex()


def _log(scope: Scope, request: LogEntry) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    logger.info(
        "%s %s %d user=%s upstream=%s ms=%d",
        scope["method"],
        _path(scope),
        request.status,
        request.user,
        request.upstream,
        request.duration_ms,
    )


def _record(scope: Scope, request: LogEntry) -> None:
    upstream = None if request.upstream == UNKNOWN else request.upstream
    record_request(
        scope,
        request.status,
        request.seconds,
        route=request.route,
        upstream=upstream,
        is_upstream_error=request.is_upstream_error,
    )


def _path(scope: Scope) -> str:
    """Return the raw path, which has no blanks and no control characters."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    path = raw.partition(b"?")[0].decode("ascii", "backslashreplace")
    if not path.isprintable():
        path = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in path)
    return path[:PATH_LENGTH]
