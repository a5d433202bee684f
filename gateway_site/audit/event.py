"""Events as JSON. No field holds an argument, a result, a query string, a cookie or a token."""

import json
from datetime import UTC, datetime
from typing import Any, Final

TEXT_MAX: Final = 256  # characters of a field
# Of the chain itself
STARTED, CHECKPOINT, DROPPED, REPEATED = "started", "checkpoint", "dropped", "repeated"
# Of calls. A stream has two: when it starts, and when it ends.
CALL, STREAM_ENDED = "call", "stream_ended"
# Of people
OPENED, SIGNED_IN, SIGN_IN_REJECTED, CONSENT = "opened", "signed_in", "sign_in_rejected", "consent"
ASSERTED, SESSION_ENDED, GRANT_ENDED = "asserted", "session_ended", "grant_ended"
RIGHTS_CHANGED, USER_DELETED = "rights_changed", "user_deleted"

Event = dict[str, Any]


def make_event(name: str, now: float, **fields: Any) -> Event:
    """Return an event of a time in epoch seconds; long texts are cut."""
    return {"time": format_time(now), "event": name} | {
        field: _cut(value) for field, value in fields.items()
    }


def encode(event: Event) -> bytes:
    """Return an event as one line of ASCII, without its end."""
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def format_time(epoch: float) -> str:
    """Return a time as RFC 3339 has it, in UTC with milliseconds."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_time(text: str) -> float:
    """Return the epoch seconds of such a time, with any zone. Raises ValueError without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("The time has no zone.")
    return moment.timestamp()


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > TEXT_MAX:
        return value[: TEXT_MAX - 1] + "…"
    return value
