"""The grants that a person has: listed, ended, and how many there may be.

One too many ends the one that was used least lately. Known by what sessions tell of themselves, and
by an index that lags behind: approximately. Whoever ends one here has no token of it, so it ends
here alone: what it holds of the provider can be read by nobody but its client.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oauth.clients.grant_end import ENDED, TOO_MANY, tell
from oauth.clients.told import ToldGrant
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection, Row
from sessions_kms.services import Services

LIVE_MAX = 50
PAGES_MAX = 20  # of a person's sessions, which are looked through for grants


@dataclass(frozen=True)
class LiveGrant:
    """One grant, by what its record and its words say."""

    row: Row
    told: ToldGrant


def live_grants(services: Services, user_id: str) -> Iterator[LiveGrant]:
    """Yield the grants of a person, newest first. Raises StoreUnavailable."""
    inspection = Inspection(services)
    found = inspection.of_user(user_id)
    for _ in range(PAGES_MAX):
        for row in found.rows:
            if (told := ToldGrant.in_words(inspection.about(row.id))) is not None:
                yield LiveGrant(row, told)
        if found.next is None:
            return
        found = inspection.of_user(user_id, found.next)


def end(services: Services, session_id: str, *, user_id: str) -> bool:
    """End one grant of a person; tell whether it was there. Raises StoreUnavailable."""
    told = ToldGrant.in_words(Inspection(services).about(session_id))
    return told is not None and _ended(services, session_id, user_id)


def _ended(services: Services, session_id: str, user_id: str, reason: str = ENDED) -> bool:
    was_there = ending.end_session(services, session_id, user_id=user_id)
    if was_there:
        tell(session_id, reason)
    return was_there


def end_all(services: Services, user_id: str) -> int:
    """End the grants of a person; return how many that were. Raises StoreUnavailable."""
    found = list(live_grants(services, user_id))
    return sum(_ended(services, each.row.id, user_id) for each in found)


def make_room(services: Services, user_id: str) -> list[ToldGrant]:
    """End what is too many before one more grant begins; return what that was.

    Raises StoreUnavailable.
    """
    count = Inspection(services).count_of_user(user_id)
    if count.number < LIVE_MAX and not count.more:
        return []
    live = sorted(live_grants(services, user_id), key=lambda each: each.row.updated_at)
    return [
        each.told
        for each in live[: max(0, len(live) - LIVE_MAX + 1)]
        if _ended(services, each.row.id, user_id, TOO_MANY)
    ]
