"""How many grants a person may have: one too many ends the one that was used least lately.

Counted by what sessions tell of themselves, and by an index that lags behind: approximately.
"""

from __future__ import annotations

from collections.abc import Iterator

from oauth.clients.told import ToldGrant
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection, Row
from sessions_kms.services import Services

LIVE_MAX = 50
PAGES_MAX = 20


def make_room(services: Services, user_id: str) -> int:
    """End what is too many before one more grant begins; return how many that were.

    Raises StoreUnavailable.
    """
    inspection = Inspection(services)
    count = inspection.count_of_user(user_id)
    if count.number < LIVE_MAX and not count.more:
        return 0
    live = sorted(_grants_of(inspection, user_id), key=lambda row: row.updated_at)
    too_many = live[: max(0, len(live) - LIVE_MAX + 1)]
    return sum(ending.end_session(services, row.id, user_id=user_id) for row in too_many)


def _grants_of(inspection: Inspection, user_id: str) -> Iterator[Row]:
    found = inspection.of_user(user_id)
    for _ in range(PAGES_MAX):
        for row in found.rows:
            if ToldGrant.in_words(inspection.about(row.id)) is not None:
                yield row
        if found.next is None:
            return
        found = inspection.of_user(user_id, found.next)
