"""Ending sessions, without decryption: one, those of a user or a link, those before a cutoff.

The owner index is eventually consistent: it may lack a session that was just created, and still
have one that just ended. So ending is repeated until nothing new shows up.
"""

from collections.abc import Callable, Collection
from functools import partial

from sessions_kms.aws.clock import ServerClock
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable, TableUnavailable
from sessions_kms.format.item_types import (
    is_session_id,
    link_owner,
    linked_session,
    owner_of,
    session_id,
)
from sessions_kms.format.record import RecordHead
from sessions_kms.sealed_items import about
from sessions_kms.services import Services
from sessions_kms.session import links
from sessions_kms.signals import announce, session_ended
from sessions_kms.storage.not_before import latest
from sessions_kms.storage.suspect_responses import retry_invalid_read

PASSES_MAX = 20
EMPTY_PASSES = 2
BETWEEN_PASSES = 0.5  # seconds; an index is usually not further behind
AHEAD_MAX = 60  # seconds that this machine's clock may be ahead of AWS's
RESOLUTION = 2  # seconds by which two readings of AWS's clock may differ


def end_session(
    services: Services, ended_id: str, *, user_id: object, names: Collection[str] = ()
) -> bool:
    """End one session of this user; return False if there is none of that id.

    ``names`` are links of it (`session.links`) that the index should no longer list. Raises
    StoreUnavailable.
    """
    owner = owner_of(services.config.namespace, user_id)
    record = run_sync(load_head(services, ended_id))
    if owner is None or record is None or record.owner != owner:
        return False
    was_there = run_sync(services.session_items.end(record.id, salt=record.salt))
    if not was_there:  # It has another id now.
        return False
    run_sync(about.SessionMetadata(services).drop(record.id))
    run_sync(links.drop(services, record.id, names))
    _announce_end(services, record)
    return True


def end_sessions_of(services: Services, user_id: object, *, but: str | None = None) -> int:
    """End all sessions of a user except the one with this session key; return their number.

    Raises StoreUnavailable.
    """
    owner = owner_of(services.config.namespace, user_id)
    if owner is None:
        return 0
    return _end_all(services, owner, {_id_of(services, but)}, _end)


def end_linked(services: Services, name: str) -> int:
    """End all sessions that list this name among their links; return their number.

    Raises StoreUnavailable.
    """
    return _end_all(services, link_owner(services.config.namespace, name), set(), _end_by_link)


def end_before(services: Services, moment: int) -> bool:
    """End all sessions created up to a cutoff in epoch seconds, within a minute everywhere.

    Return False if a cutoff as late is in effect already. Deletes nothing. Raises ValueError for
    a cutoff in the future, which would lock everybody out, or before 1970, and StoreUnavailable.
    """
    raised = _raised(services, moment)
    services.not_before.at_least(moment)
    return raised


def require_past(services: Services, moment: int) -> None:
    """Raise ValueError for a cutoff that is past only by this machine's clock.

    Raises TableUnavailable.
    """
    there = run_sync(services.queries.server_time())
    if there is None or not isinstance(services.clock, ServerClock):  # A configured clock is right.
        return
    ahead = round(services.clock.local() - there)
    if ahead > AHEAD_MAX and moment > there + RESOLUTION:
        raise ValueError(
            f"This machine's clock is {ahead:,} s ahead of AWS's, so this time is in the future:"
            " nobody could sign in until then. Correct the clock."
        )


def end_before_of(services: Services, name: str, moment: int) -> bool:
    """End everything granted up to a cutoff under a name, such as a provider's tokens.

    No session ends. Otherwise like `end_before`.
    """
    raised = _raised(services, moment, name)
    services.not_before_of(name).at_least(moment)
    return raised


def _raised(services: Services, moment: int, name: str | None = None) -> bool:
    if moment < 0:  # No reader would accept it.
        raise ValueError("The time is before 1970.")
    if moment > services.clock():
        raise ValueError("The time is in the future: nobody could sign in until then.")
    try:
        return run_sync(services.not_before_items.raise_to(moment, name, latest=_latest(services)))
    except InvalidRecord as exc:
        raise TableUnavailable("The cutoff in the table cannot be read.") from exc


def _latest(services: Services) -> int:
    """Return the latest cutoff that is accepted, by AWS's clock if this machine's is behind."""
    there = run_sync(services.queries.server_time())
    return latest(max(services.clock(), there or 0))


def end_record(services: Services, record: RecordHead) -> bool:
    """End the session of a record; return True if it still existed and was live.

    Raises StoreUnavailable.
    """
    if not run_sync(services.session_items.end(record.id, salt=record.salt)):
        return False
    if record.owner is not None:
        run_sync(about.SessionMetadata(services).drop(record.id))
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
    """End all sessions in the index until no new ones appear; return the number of live ones.

    ``end`` returns None for a session that may exist later: the next pass tries again.
    """
    over = set(kept)
    ended = empty = 0
    for _ in range(PASSES_MAX):
        found = [each for each in run_sync(services.queries.owned_ids(owner)) if each not in over]
        outcomes = {each: end(services, each) for each in found}
        news = {each: was_live for each, was_live in outcomes.items() if was_live is not None}
        over |= news.keys()
        ended += sum(news.values())
        empty = 0 if news else empty + 1
        if empty == EMPTY_PASSES:
            return ended
        services.sleep(BETWEEN_PASSES)
    raise StoreUnavailable("New sessions keep beginning while sessions are being ended.")


def _end(services: Services, ended_id: str) -> bool:
    record = run_sync(load_head(services, ended_id))
    if record is not None:
        return end_record(services, record)
    run_sync(services.session_items.end(ended_id))
    return False


def _end_by_link(services: Services, item_id: str) -> bool | None:
    """End the session of a link's item; return None if there is none.

    Links are written before their session, so a missing session may still be stored. Then the item
    stays for the next pass; finally DynamoDB deletes it.
    """
    record = run_sync(load_head(services, linked_session(item_id)))
    if record is None:
        return None
    was_live = end_record(services, record)
    run_sync(services.table.delete(item_id))
    return was_live


async def load_head(services: Services, item_id: str) -> RecordHead | None:
    """Return the record of an id, live or not, without its ciphertext, or None.

    Raises TableUnavailable.
    """
    if not is_session_id(item_id):  # Another item type, or an arbitrary text.
        return None
    try:
        return await retry_invalid_read(partial(services.session_items.head, item_id))
    except InvalidRecord:
        return None


def get_end(services: Services, record: RecordHead) -> int:
    """Return the latest time, in epoch seconds, at which the session of a record can end."""
    timeout = services.config.longest_age
    return record.ttl if timeout is None else min(record.ttl, record.created_at + timeout)


def _id_of(services: Services, session_key: str | None) -> str | None:
    __traceback_hide__ = True
    return None if session_key is None else session_id(services.config.namespace, session_key)
