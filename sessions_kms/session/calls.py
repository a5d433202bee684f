"""What the session's steps wait for, by name: records in the table, and pauses."""

from collections.abc import Callable
from typing import Any, TypeAlias

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.steps import Call, Pause, Steps
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.services import Services
from sessions_kms.storage.table import Version
from sessions_kms.telemetry import telemetry

Stored: TypeAlias = SessionRecord | Tombstone | None


def find(services: Services, session_id: str) -> Steps[Stored]:
    """Return what stands under an id."""
    found: Stored = yield Call(services.table.find, (session_id,))
    return found


def standing(services: Services, session_id: str) -> Steps[Stored]:
    """Return what stands under an id; what is not valid is read once more."""
    try:
        return (yield from find(services, session_id))
    except InvalidRecord as exc:
        telemetry.count("doubts", reason=exc.reason)
    return (yield from find(services, session_id))


def create(services: Services, record: SessionRecord) -> Steps[None]:
    """Put a record where none is."""
    yield _named(services.table.create, (record,), {"now": record.updated_at})


def replace(services: Services, record: SessionRecord, expected: Version) -> Steps[None]:
    """Put a record in the place of the one that is expected there."""
    told = {"expected": expected, "now": record.updated_at}
    yield _named(services.table.replace, (record,), told)


def move(
    services: Services,
    record: SessionRecord,
    *,
    old_id: str,
    expected: Version,
    put: Item | None,
    delete: str | None,
) -> Steps[None]:
    """Put a record under a new id and a tombstone over the old one, or neither."""
    told = {"old_id": old_id, "expected": expected, "now": record.updated_at}
    yield _named(services.table.move, (record,), told | {"put": put, "delete": delete})


def end(services: Services, session_id: str) -> Steps[bool]:
    """Delete a record; False where its tombstone is."""
    is_ended: bool = yield Call(services.table.end, (session_id,))
    return is_ended


def rest(services: Services, seconds: float) -> Steps[None]:
    """Pause, on the request's account."""
    if seconds > 0:
        yield Pause(seconds, services.sleep)
        deadline.spend(seconds)


def _named(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Call:
    """Return a call with arguments that have names."""

    def call() -> Any:
        __traceback_hide__ = True
        return function(*args, **named)

    return Call(call)
