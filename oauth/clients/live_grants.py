"""The grants that a person has: listed, ended, and how many there may be.

One too many ends the one that was used least lately. Each is linked by a name that its person's
grants share, so that the index tells them from the person's other sessions, however many those are,
and none of those is read. The index lags behind: approximately. Whoever ends one here has no token
of it, so it ends here alone: what it holds of the provider can be read by nobody but its client.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.contrib.sessions.backends.base import SessionBase

from oauth.clients.consent import GrantLabels
from oauth.clients.grant_end import ENDED, TOO_MANY, announce_end
from oauth.logout import session_links
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection, Row
from sessions_kms.services import Services

LIVE_MAX = 50
# The index may show one for days after it idled out.
LISTED_MAX = 500
COMPARED_MAX = 4 * LIVE_MAX  # by their last use; what was allowed before all of these ends unread
ENDED_MAX = 10  # by one consent, which adds one: so what is too many shrinks
LINK_KEY = "#grants"  # what no provider is called


@dataclass(frozen=True)
class LiveGrant:
    """One grant, by what its record and its words say."""

    row: Row
    told: GrantLabels


def link_to_user(stored: SessionBase, user_id: str) -> None:
    """Have the session of a grant, which is about to begin, be found among those of its person."""
    session_links.store_links(stored, LINK_KEY, [_link_name(user_id)])


async def list_grants(services: Services, user_id: str) -> list[LiveGrant]:
    """Return the grants of a person, newest first. Raises StoreUnavailable."""
    inspection = Inspection(services)
    session_ids = await inspection.find_linked_ids(user_id, _link_name(user_id))
    rows = await inspection.read_rows(user_id, session_ids[:LISTED_MAX])
    grants = []
    for row in rows:
        labels = GrantLabels.from_labels(await inspection.about(row.id))
        if labels is not None:
            grants.append(LiveGrant(row, labels))
    return grants


def end_grant(services: Services, session_id: str, *, user_id: str) -> bool:
    """End one grant of a person; tell whether it was there. Raises StoreUnavailable."""
    labels = GrantLabels.from_labels(run_sync(Inspection(services).about(session_id)))
    return labels is not None and _end(services, session_id, user_id)


def _end(services: Services, session_id: str, user_id: str, reason: str = ENDED) -> bool:
    was_there = ending.end_session(services, session_id, user_id=user_id)
    if was_there:
        announce_end(session_id, reason)
    return was_there


def end_all_grants(services: Services, user_id: str) -> int:
    """End the grants of a person; return how many that were. Raises StoreUnavailable."""
    live_grants = run_sync(list_grants(services, user_id))
    return sum(_end(services, each.row.id, user_id) for each in live_grants)


def make_room(services: Services, user_id: str) -> list[GrantLabels]:
    """End what is too many before one more grant begins; return what that was.

    What that costs is bounded, whatever else the person has. Raises StoreUnavailable.
    """
    inspection = Inspection(services)
    surplus = _surplus_grants(inspection, user_id)[:ENDED_MAX]
    labels_by_id = {
        each: GrantLabels.from_labels(run_sync(inspection.about(each))) for each in surplus
    }
    ended = [each for each in surplus if _end(services, each, user_id, TOO_MANY)]
    return [labels for each in ended if (labels := labels_by_id[each]) is not None]


def _surplus_grants(inspection: Inspection, user_id: str) -> list[str]:
    """Return the ids of the grants that are to end first, which are none if one more may be."""
    count = run_sync(inspection.count_user_sessions(user_id))
    if count.number < LIVE_MAX and not count.more:
        return []
    session_ids = run_sync(inspection.find_linked_ids(user_id, _link_name(user_id)))
    if len(session_ids) < LIVE_MAX:
        return []
    compared = run_sync(inspection.read_rows(user_id, session_ids[:COMPARED_MAX]))
    live = sorted(compared, key=lambda row: row.updated_at)
    older = session_ids[COMPARED_MAX:]
    return [row.id for row in live[: max(0, len(live) - LIVE_MAX + 1)]] + older[::-1]


def _link_name(user_id: str) -> str:
    """Return the name that links the grants of a person: no secret, as their owner is none."""
    return hashlib.sha256(b"oauth/1/grants\0" + user_id.encode()).hexdigest()
