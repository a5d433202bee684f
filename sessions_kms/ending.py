"""The sessions of one user, listed and ended through the owner index, without decryption.

The index is eventually consistent: a session just created may be missing from it,
one just ended may still be in it. So ending is repeated until nothing new shows up.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.links import linked_session, owner_of_link
from sessions_kms.record import SessionRecord, owner_of, session_id
from sessions_kms.services import services
from sessions_kms.signals import announce, session_ended

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{43}")
LISTED_MAX = 100
PASSES_MAX = 20
EMPTY_PASSES = 2
BETWEEN_PASSES = 0.5  # seconds; an index is usually not further behind


@dataclass(frozen=True)
class SessionInfo:
    """What a record says in the clear. Times are epoch seconds."""

    id: str
    created_at: int
    updated_at: int
    ends_at: int
    current: bool


def sessions_of(user_id: object, *, current: str | None = None) -> list[SessionInfo]:
    """Return a user's live sessions, newest first, at most 100.

    ``current`` is the session key of the one that asks. Raises StoreUnavailable.
    """
    owner = owner_of(services().config.namespace, user_id)
    current_id = _id_of(current)
    return [
        SessionInfo(record.id, record.created_at, record.updated_at, ends_at(record),
                    record.id == current_id)
        for record in _live(owner)
    ]  # fmt: skip


def end_session(ended_id: str, *, user_id: object) -> bool:
    """End one session of this user; False when there is none of that id.

    Raises StoreUnavailable.
    """
    owner = owner_of(services().config.namespace, user_id)
    record = stored_record(ended_id)
    if owner is None or record is None or record.owner != owner:
        return False
    end_record(record)
    return True


def end_sessions_of(user_id: object, *, but: str | None = None) -> int:
    """End all sessions of a user, but the one with this session key; return how many.

    Raises StoreUnavailable.
    """
    owner = owner_of(services().config.namespace, user_id)
    if owner is None:
        return 0
    return _end_all(owner, {_id_of(but)}, _end)


def end_linked(name: str) -> int:
    """End all sessions that list this name among their links; return how many.

    Raises StoreUnavailable.
    """

    def end(item_id: str) -> bool:
        was_live = _end(linked_session(item_id))
        services().table.delete(item_id)
        return was_live

    return _end_all(owner_of_link(services().config.namespace, name), set(), end)


def end_before(moment: int, name: str | None = None) -> bool:
    """End all sessions created until a moment, in epoch seconds; on every process in a minute.

    With a name the moment is of something else: of the tokens of that provider, say. False
    when the moment in force is as late already. Deletes nothing. Raises ValueError for a
    moment to come, which would lock everybody out, or before 1970, and StoreUnavailable.
    """
    if moment < 0:  # What the table would then hold is no moment to any reader.
        raise ValueError("The moment lies before 1970.")
    if moment > services().clock():
        raise ValueError("The moment lies in the future: nobody could sign in until then.")
    try:
        raised = services().table.raise_not_before(moment, name)
    except InvalidRecord as exc:
        raise TableUnavailable("The moment in the table cannot be read.") from exc
    not_before = services().not_before if name is None else services().not_before_of(name)
    not_before.at_least(moment)
    return raised


def end_record(record: SessionRecord) -> bool:
    """End the session of a record that was read; tell whether it was still live.

    Raises StoreUnavailable.
    """
    services().table.delete(record.id)
    was_live = services().is_live(record)
    if was_live:
        announce(session_ended, record.id)
    return was_live


def _end_all(owner: str, kept: set[str | None], end: Callable[[str], bool]) -> int:
    """End what the index shows, until nothing new does; return how many were still live."""
    seen: set[str] = set()
    ended = empty = 0
    for _ in range(PASSES_MAX):
        fresh = [found for found in services().table.owned(owner) if found not in seen | kept]
        ended += sum([end(found) for found in fresh])
        seen |= set(fresh)
        empty = 0 if fresh else empty + 1
        if empty == EMPTY_PASSES:
            break
        services().sleep(BETWEEN_PASSES)
    return ended


def _end(ended_id: str) -> bool:
    record = stored_record(ended_id)
    if record is not None:
        return end_record(record)
    services().table.delete(ended_id)
    return False


def _live(owner: str | None) -> Iterator[SessionRecord]:
    if owner is None:
        return
    for found in services().table.owned(owner)[:LISTED_MAX]:
        record = stored_record(found)
        if record is not None and record.owner == owner and services().is_live(record):
            yield record


def stored_record(found: str) -> SessionRecord | None:
    """Return the record of an id, live or not; None where none is, or no valid one.

    Raises TableUnavailable.
    """
    if not SESSION_ID.fullmatch(found):  # Another kind of item, or what somebody typed.
        return None
    try:
        return services().table.get(found)
    except InvalidRecord:
        return None


def ends_at(record: SessionRecord) -> int:
    """Return when the session of a record ends at the latest, in epoch seconds."""
    timeout = services().config.absolute_timeout
    return record.ttl if timeout is None else min(record.ttl, record.created_at + timeout)


def _id_of(session_key: str | None) -> str | None:
    __traceback_hide__ = True
    return None if session_key is None else session_id(services().config.namespace, session_key)
