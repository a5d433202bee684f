"""The sessions of one user, ended through the owner index, without decryption.

The index is eventually consistent: a session just created may be missing from it,
one just ended may still be in it. So ending is repeated until nothing new shows up.
"""

from collections.abc import Callable
from functools import partial

from sessions_kms.aws.clock import ServerClock
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable, TableUnavailable
from sessions_kms.format.kinds import (
    is_session_id,
    link_owner,
    linked_session,
    owner_of,
    session_id,
)
from sessions_kms.format.record import RecordHead
from sessions_kms.sealed_items import about
from sessions_kms.services import Services
from sessions_kms.signals import announce, session_ended
from sessions_kms.storage.doubts import once_more
from sessions_kms.storage.not_before import latest

PASSES_MAX = 20
EMPTY_PASSES = 2
BETWEEN_PASSES = 0.5  # seconds; an index is usually not further behind
AHEAD_MAX = 60  # seconds that this machine's clock may be ahead of AWS's
GRAIN = 2  # seconds that two readings of AWS's clock may differ by


def end_session(services: Services, ended_id: str, *, user_id: object) -> bool:
    """End one session of this user; False when there is none of that id.

    Raises StoreUnavailable.
    """
    owner = owner_of(services.config.namespace, user_id)
    record = run_sync(stored_head(services, ended_id))
    if owner is None or record is None or record.owner != owner:
        return False
    was_there = run_sync(services.session_items.end(record.id, salt=record.salt))
    if not was_there:  # It has another id by now.
        return False
    run_sync(about.About(services).drop(record.id))
    _announce_end(services, record)
    return True


def end_sessions_of(services: Services, user_id: object, *, but: str | None = None) -> int:
    """End all sessions of a user, but the one with this session key; return how many.

    Raises StoreUnavailable.
    """
    owner = owner_of(services.config.namespace, user_id)
    if owner is None:
        return 0
    return _end_all(services, owner, {_id_of(services, but)}, _end)


def end_linked(services: Services, name: str) -> int:
    """End all sessions that list this name among their links; return how many.

    Raises StoreUnavailable.
    """
    return _end_all(services, link_owner(services.config.namespace, name), set(), _end_by_link)


def end_before(services: Services, moment: int) -> bool:
    """End all sessions created until a moment, in epoch seconds; on every process in a minute.

    False when the moment in force is as late already. Deletes nothing. Raises ValueError for
    a moment to come, which would lock everybody out, or before 1970, and StoreUnavailable.
    """
    raised = _raised(services, moment)
    services.not_before.at_least(moment)
    return raised


def require_past(services: Services, moment: int) -> None:
    """Raise ValueError for a moment that only this machine's clock calls past.

    Raises TableUnavailable.
    """
    there = run_sync(services.description.server_time())
    if there is None or not isinstance(services.clock, ServerClock):  # One that is given is right.
        return
    ahead = round(services.clock.local() - there)
    if ahead > AHEAD_MAX and moment > there + GRAIN:
        raise ValueError(
            f"This machine's clock is {ahead:,} s ahead of AWS's, and the moment lies in the"
            " future by that: nobody could sign in until then. Set the clock right."
        )


def end_before_of(services: Services, name: str, moment: int) -> bool:
    """End what else has a beginning, the tokens of a provider of this name, say; no session.

    As `end_before` does otherwise.
    """
    raised = _raised(services, moment, name)
    services.not_before_of(name).at_least(moment)
    return raised


def _raised(services: Services, moment: int, name: str | None = None) -> bool:
    if moment < 0:  # What the table would then hold is no moment to any reader.
        raise ValueError("The moment lies before 1970.")
    if moment > services.clock():
        raise ValueError("The moment lies in the future: nobody could sign in until then.")
    try:
        return run_sync(services.not_before_items.raise_to(moment, name, latest=_latest(services)))
    except InvalidRecord as exc:
        raise TableUnavailable("The moment in the table cannot be read.") from exc


def _latest(services: Services) -> int:
    """Return the latest moment that counts, by AWS's clock where this machine's is behind."""
    there = run_sync(services.description.server_time())
    return latest(max(services.clock(), there or 0))


def end_record(services: Services, record: RecordHead) -> bool:
    """End the session of a record that was read; tell whether it was still live, and there.

    Raises StoreUnavailable.
    """
    if not run_sync(services.session_items.end(record.id, salt=record.salt)):
        return False
    if record.owner is not None:
        run_sync(about.About(services).drop(record.id))
    return _announce_end(services, record)


def _announce_end(services: Services, record: RecordHead) -> bool:
    was_live = run_sync(services.of_any.is_live(record))
    if was_live:
        announce(session_ended, record.id)
    return was_live


def _end_all(
    services: Services,
    owner: str,
    kept: set[str | None],
    end: Callable[[Services, str], bool | None],
) -> int:
    """End what the index shows, until nothing new does; return how many were still live.

    ``end`` gives None for what may be there later: the next pass looks again.
    """
    over = set(kept)
    ended = empty = 0
    for _ in range(PASSES_MAX):
        found = [each for each in run_sync(services.table.owned_ids(owner)) if each not in over]
        outcomes = {each: end(services, each) for each in found}
        news = {each: was_live for each, was_live in outcomes.items() if was_live is not None}
        over |= news.keys()
        ended += sum(news.values())
        empty = 0 if news else empty + 1
        if empty == EMPTY_PASSES:
            return ended
        services.sleep(BETWEEN_PASSES)
    raise StoreUnavailable("Sessions go on beginning while they are ended.")


def _end(services: Services, ended_id: str) -> bool:
    record = run_sync(stored_head(services, ended_id))
    if record is not None:
        return end_record(services, record)
    run_sync(services.session_items.end(ended_id))
    return False


def _end_by_link(services: Services, item_id: str) -> bool | None:
    """End the session of a link's item; None while there is none.

    Links are written before their session, so one that is not there may be stored next. The
    item stays then, for who looks again; DynamoDB deletes it in the end.
    """
    record = run_sync(stored_head(services, linked_session(item_id)))
    if record is None:
        return None
    was_live = end_record(services, record)
    run_sync(services.table.delete(item_id))
    return was_live


async def stored_head(services: Services, found: str) -> RecordHead | None:
    """Return the record of an id, live or not, without its ciphertext; None for no valid one.

    Raises TableUnavailable.
    """
    if not is_session_id(found):  # Another kind of item, or what somebody typed.
        return None
    try:
        return await once_more(partial(services.session_items.head, found))
    except InvalidRecord:
        return None


def ends_at(services: Services, record: RecordHead) -> int:
    """Return when the session of a record ends at the latest, in epoch seconds."""
    timeout = services.config.longest_age
    return record.ttl if timeout is None else min(record.ttl, record.created_at + timeout)


def _id_of(services: Services, session_key: str | None) -> str | None:
    __traceback_hide__ = True
    return None if session_key is None else session_id(services.config.namespace, session_key)
