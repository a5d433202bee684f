"""Lists and ends a person's grants, and limits their number.

Grants that came with a provider's assertion (`oauth.clients.id_jag`) are separate: they last
fifteen minutes and do not count among the others. All of a client and upstream are one entry. Two
entries of the index list them: those of the person, and those of the person, client and upstream.

When a person has too many grants, the least recently used one is ended. All grants of a person have
the same entry in the index, so they are found without reading the person's other sessions, however
many those are. The index is eventually consistent, so the limit is approximate. A grant that is
ended here is not revoked at the provider: only its client has a token that can decrypt it.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.contrib.sessions.backends.base import SessionBase

from oauth.clients.consent import AssertedEntry, GrantLabels
from oauth.clients.grant_end import ENDED, TOO_MANY, announce_end
from oauth.clients.rules.client import LABEL_MAX
from oauth.logout import session_links
from sessions_kms import about
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection, Row
from sessions_kms.services import BRIEF_GRANT_AGE, Services

LIVE_MAX = 50
# More than LIVE_MAX, since the index may list an expired grant for days.
LISTED_MAX = 500
COMPARED_MAX = 4 * LIVE_MAX  # newest grants whose last use is read; older ones are ended first
ENDED_MAX = 10  # per consent; each consent adds only one, so a surplus shrinks
LINK_KEY = "#grants"  # cannot be the name of a provider
ASSERTED_MAX = 8  # of a user, client and upstream


@dataclass(frozen=True)
class LiveGrant:
    """One grant: its row of the table, and its labels.

    ``older`` are the ids of others with the same labels, which an assertion brought earlier.
    """

    row: Row
    labels: GrantLabels
    older: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all its sessions."""
        return (self.row.id, *self.older)


def link_to_user(stored: SessionBase, user_id: str) -> None:
    """Add the index entry by which the person's grants are found to the session of a new grant."""
    session_links.store_links(stored, LINK_KEY, [_link_name(user_id)])


async def list_grants(services: Services, user_id: str) -> list[LiveGrant]:
    """Return the grants of a person, newest first. Raises StoreUnavailable."""
    inspection = Inspection(services)
    session_ids = await inspection.find_linked_ids(user_id, _link_name(user_id))
    rows = await inspection.read_rows(user_id, session_ids[:LISTED_MAX])
    grants = []
    for row in rows:
        labels = await _read_labels(inspection, row.id)
        if labels is not None:
            grants.append(LiveGrant(row, labels))
    return grants


async def list_asserted_grants(
    services: Services, user_id: str, *, complete: bool = False
) -> list[LiveGrant]:
    """Return the grants of a person that came with assertions, newest first: one for each client
    and upstream. Raises StoreUnavailable.

    Reads at most `LISTED_MAX` unless ``complete``.
    """
    inspection = Inspection(services)
    session_ids = await _find_asserted(inspection, _asserted_link(user_id))
    read = session_ids if complete else session_ids[:LISTED_MAX]
    rows = await inspection.read_rows(user_id, read)
    found: dict[AssertedEntry, list[tuple[Row, GrantLabels]]] = {}
    for row in rows:
        labels = await _read_labels(inspection, row.id)
        if labels is not None and labels.asserted_by:
            found.setdefault(labels.asserted_entry, []).append((row, labels))
    return [
        LiveGrant(newest, labels, tuple(each.id for each, _ in older))
        for (newest, labels), *older in found.values()
    ]


def end_grant(services: Services, session_id: str, *, user_id: str) -> GrantLabels | None:
    """End one grant of a person; return its labels if it existed. Raises StoreUnavailable.

    Of grants that came with assertions, all of the same client and upstream end.
    """
    inspection = Inspection(services)
    labels = run_sync(_read_labels(inspection, session_id))
    if labels is None:
        return None
    same = {session_id}
    if labels.asserted_by:
        link = _asserted_link(user_id, labels.client_id, labels.upstream)
        same.update(run_sync(_find_asserted(inspection, link)))
    return labels if _end_each(services, same, user_id, labels) else None


async def _read_labels(inspection: Inspection, session_id: str) -> GrantLabels | None:
    """Return the labels of a grant; None if it has none. Raises StoreUnavailable.

    `Inspection.about` would return none in an outage, as if the grant had ended.
    """
    labels = await about.SessionMetadata(inspection.services).read(session_id)
    return GrantLabels.from_labels(labels)


def _end(
    services: Services,
    session_id: str,
    user_id: str,
    reason: str = ENDED,
    links: Collection[str] = (),
) -> bool:
    """End a grant and delete these index entries of it."""
    was_there = ending.end_session(services, session_id, user_id=user_id, names=links)
    if was_there:
        announce_end(session_id, reason)
    return was_there


def _end_each(
    services: Services, session_ids: Iterable[str], user_id: str, labels: GrantLabels
) -> bool:
    """End sessions of one entry; return True if there was one."""
    links: Collection[str] = ()
    if labels.asserted_by:
        links = asserted_links(user_id, labels.client_id, labels.upstream)
    ended = [_end(services, each, user_id, links=links) for each in session_ids]
    return any(ended)


def end_all_grants(services: Services, user_id: str) -> list[GrantLabels]:
    """End all grants of a person; return their labels. Raises StoreUnavailable."""
    live = run_sync(list_grants(services, user_id))
    live += run_sync(list_asserted_grants(services, user_id, complete=True))
    return [each.labels for each in live if _end_each(services, each.ids, user_id, each.labels)]


def make_room(services: Services, user_id: str) -> list[GrantLabels]:
    """End surplus grants before another one is created; return the labels of those ended.

    The cost is bounded, however many sessions the person has. Raises StoreUnavailable.
    """
    inspection = Inspection(services)
    surplus = _surplus_grants(inspection, user_id)[:ENDED_MAX]
    labels_by_id = {
        each: GrantLabels.from_labels(run_sync(inspection.about(each))) for each in surplus
    }
    ended = [each for each in surplus if _end(services, each, user_id, TOO_MANY)]
    return [labels for each in ended if (labels := labels_by_id[each]) is not None]


def _surplus_grants(inspection: Inspection, user_id: str) -> list[str]:
    """Return the ids of the grants to end, in this order; none if the limit allows another."""
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


def asserted_links(user_id: str, client_id: str, upstream: str) -> list[str]:
    """Return the names of the index entries of an asserted grant. They are not secret.

    ``client_id`` is shortened as in labels.
    """
    return [_asserted_link(user_id), _asserted_link(user_id, client_id, upstream[:LABEL_MAX])]


def end_oldest_asserted(
    services: Services, user_id: str, client_id: str, upstream: str, began: float
) -> None:
    """End what exceeds the limit of a user, client and upstream, of what began before a new grant.

    ``began`` is the time of the new one, in epoch seconds: those of the same second never end each
    other. Only if the index lists as many, it is read which are live. Raises StoreUnavailable.
    """
    inspection = Inspection(services)
    links = asserted_links(user_id, client_id, upstream)
    ids = run_sync(_find_asserted(inspection, links[-1]))
    if len(ids) < ASSERTED_MAX:
        return
    live = run_sync(inspection.read_rows(user_id, ids))
    earlier = [row for row in live if row.created_at.timestamp() < int(began)]
    for row in earlier[ASSERTED_MAX - 1 :]:
        _end(services, row.id, user_id, TOO_MANY, links)


def _asserted_link(*named: str) -> str:
    """Return the name of the index entry of a user's asserted grants, or of some of them."""
    digest = hashlib.sha256(b"oauth/1/asserted\0" + json.dumps(named).encode())
    return digest.hexdigest()


async def _find_asserted(inspection: Inspection, link: str) -> list[str]:
    """Return the ids of the grants under a link that may not have ended, newest first."""
    since = inspection.services.clock() - BRIEF_GRANT_AGE
    return await inspection.find_young_linked_ids(link, since)


def _link_name(user_id: str) -> str:
    """Return the name of the index entry of a person's grants. It is not secret."""
    return hashlib.sha256(b"oauth/1/grants\0" + user_id.encode()).hexdigest()
