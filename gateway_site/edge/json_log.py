"""The log as JSON: one object a line, of at most 8 KB, for machines that collect logs.

docs/operations.md describes the members. `LOG_FORMAT=json` chooses it. Needs no
settings: the server logs before they are loaded.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from gateway_site.edge import access_log

LINE_MAX: Final = 8 * 1024  # bytes
MESSAGE_MAX: Final = 2 * 1024  # bytes of JSON
FIELD_MAX: Final = 256  # bytes of JSON of every other text
OTHER: Final = "library"
# The event of a line, by the beginning of its logger's name: the longest one counts.
EVENTS: Final[Mapping[str, str]] = {
    "gateway_site": "gateway",
    "gateway_site.access": "request",
    "gateway_site.audit": "audit",
    "gateway_site.forwarding": "upstream",
    "gateway_site.forwarding.calls.limits": "limit",
    "gateway_site.forwarding.asgi": "limit",
    "gateway_site.edge": "limit",
    "gateway_site.health": "health",
    "gateway_site.outages": "database",
    "gateway_site.server": "server",
    "gateway_site.transport": "upstream",
    "oauth": "provider",
    "oauth.adapter": "sign_in",
    "oauth.backchannel": "sign_out",
    "oauth.clients": "client",
    "oauth.logout": "sign_out",
    "oauth.provider.revocation": "revocation",
    "oauth.provider.token_endpoint": "token_refresh",
    "oauth.sign_in": "sign_in",
    "oauth.tokens": "token_refresh",
    "oauth.tokens.revocation": "revocation",
    "sessions_kms": "session_store",
    "sessions_kms.aws": "aws",
    "sessions_kms.aws.circuit": "circuit",
    "sessions_kms.aws.clock": "clock",
    "sessions_kms.data_keys": "data_key",
    "sessions_kms.storage": "table",
    "sessions_kms.storage.not_before": "not_before",
    "django.security": "rejected",
    "django": "django",
    "py.warnings": "warning",
    "uvicorn": "server",
}


class JSONFormatter(logging.Formatter):
    """Formats a record as one line; what does not fit is cut.

    Accepts and ignores what configurations pass to other formatters.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; it is ASCII, so no character of a value can end or fake one."""
        fields = {
            "time": _format_time(record.created),
            "level": record.levelname,
            "event": event_of(record.name),
            "logger": record.name,
            "message": record.getMessage(),
            **_request_fields(record),
            **_trace_fields(),
        }
        limits = {"message": MESSAGE_MAX}
        cut = {name: _cut(value, limits.get(name, FIELD_MAX)) for name, value in fields.items()}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            left = LINE_MAX - len(_dump(cut)) - len(', "exception": ')
            cut["exception"] = _cut(record.exc_text, left, keep_end=True)
        return _dump(cut)


def event_of(logger: str) -> str:
    """Return the event of a logger's lines."""
    name = logger
    while name:
        if (found := EVENTS.get(name)) is not None:
            return found
        name = name.rpartition(".")[0]
    return OTHER


def use_for_server(logging_config: dict[str, Any]) -> None:
    """Make this process and uvicorn's configuration write JSON only, errors at the start too."""
    logging_config["formatters"]["default"] = {"()": JSONFormatter}
    logging.captureWarnings(capture=True)
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.getLogger().addHandler(handler)  # until the settings configure the log
    sys.excepthook = _log_uncaught


def log_failed_start(error: Exception) -> None:
    """Log what ends a process before it serves; a fault of the settings needs no traceback."""
    is_known = isinstance(error, ImproperlyConfigured)
    record = logging.makeLogRecord(
        {
            "name": "gateway_site.server",
            "levelno": logging.CRITICAL,
            "levelname": "CRITICAL",
            "msg": "The gateway cannot start: %s: %s",
            "args": (type(error).__name__, str(error)),
            "exc_info": None if is_known else (type(error), error, error.__traceback__),
        }
    )
    sys.stderr.write(JSONFormatter().format(record) + "\n")
    sys.stderr.flush()


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if isinstance(error, Exception):
        log_failed_start(error)
    else:
        sys.__excepthook__(kind, error, traceback)


def _format_time(created: float) -> str:
    """Return a time as RFC 3339 has it, in UTC with milliseconds."""
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _request_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is known of the request that is served; its line has how it ended as well."""
    request = access_log.current_entry()
    if request is None:
        return {}
    named = {"user": request.user, "client": request.client, "upstream": request.upstream}
    fields: dict[str, Any] = {
        name: value for name, value in named.items() if value != access_log.UNKNOWN
    }
    if record.name == access_log.logger.name:
        fields |= {"status": request.status, "duration_ms": request.duration_ms}
        if request.upstream_status is not None:
            fields["upstream_status"] = request.upstream_status
    return {"request_id": request.id, **fields}


def _trace_fields() -> dict[str, str]:
    """Return the ids of OpenTelemetry's current span, if OpenTelemetry is in use."""
    if (trace := sys.modules.get("opentelemetry.trace")) is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _cut(value: Any, limit: int, *, keep_end: bool = False) -> Any:
    """Shorten a text until its JSON has at most ``limit`` bytes; "…" stands for what is cut."""
    if not isinstance(value, str) or (len(value) <= limit and len(_dump(value)) <= limit):
        return value
    kept = value[-limit:] if keep_end else value[:limit]  # A character takes a byte or more.
    while True:
        shown = f"…{kept}" if keep_end else f"{kept}…"
        if (size := len(_dump(shown))) <= limit:
            return shown
        length = min(len(kept) - 1, len(kept) * limit // size)
        kept = kept[len(kept) - length :] if keep_end else kept[:length]


def _dump(value: Any) -> str:
    return json.dumps(value)  # ASCII: all else is escaped
