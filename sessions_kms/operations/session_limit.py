"""Ends a user's earliest sign-ins, so that no more sessions than the limit are left.

Runs after a sign-in, once its session is stored. The owner index lists candidates; consistent reads
decide. The index may lag by a second, and the records have whole seconds: sign-ins at the same time
never end each other, and may leave one session too many until the next sign-in. Grants of OAuth
clients neither count nor end. The records do not show which session was used least recently.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Gather
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.format.item_types import owner_of
from sessions_kms.format.record import RecordHead
from sessions_kms.operations.ending import load_head
from sessions_kms.operations.listing import is_listed, may_be_live
from sessions_kms.sealed_items.about import Labels, SessionMetadata, are_of_grant, id_of
from sessions_kms.services import Services
from sessions_kms.session.repository import LoadedVersion
from sessions_kms.signals import announce_async, session_ended
from sessions_kms.telemetry import telemetry

logger = logging.getLogger("sessions_kms")

REASON: Final = "limit"  # of `session_ended`
ENDED_MAX: Final = 10  # per sign-in; the next ones reduce a larger surplus
BESIDE_MAX: Final = 200  # entries that are read besides the limit: grants, expired and surplus ones
FEW: Final = 20  # entries that are read one after the other; more are read at the same time
SECONDS_MAX: Final = 2.5  # of the time that the request may wait: it may still need the rest
NOTED_MAX: Final = 1024  # sign-ins of this process whose order is known


LiveSession = tuple[RecordHead, Labels]


@dataclass(frozen=True)
class EndedSession:
    """A session that another sign-in ended. ``signed_in_at`` is in epoch seconds."""

    id: str
    signed_in_at: int
    labels: Labels = field(repr=False)


class SignInOrder:
    """The order of this process's last sign-ins, which whole seconds do not show."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._counter = count()

    def note(self, session_id: str) -> None:
        """Note a sign-in that was just stored."""
        self._numbers[session_id] = next(self._counter)
        self._numbers.move_to_end(session_id)
        while len(self._numbers) > NOTED_MAX:
            self._numbers.popitem(last=False)

    def is_before(self, one: str, other: str) -> bool:
        """Return True if both are known, and the first was noted first."""
        first, second = self._numbers.get(one), self._numbers.get(other)
        return first is not None and second is not None and first < second


order = SignInOrder()


async def end_surplus(services: Services, own: LoadedVersion, limit: int) -> list[EndedSession]:
    """End what exceeds the limit after a sign-in, never its own session; return what was ended.

    A failure is logged and counted: the user is signed in.
    """
    ended: list[EndedSession] = []
    order.note(own.id)
    try:
        with deadline.call(SECONDS_MAX, StoreUnavailable):
            await _end_surplus(services, own, limit, ended)
    except Exception as error:
        is_outage = isinstance(error, StoreUnavailable)
        logger.warning(
            "The limit of a user's sessions could not be applied: %s", error, exc_info=not is_outage
        )
        telemetry.count("session_limit.failures")
    return ended


async def _end_surplus(
    services: Services, own: LoadedVersion, limit: int, ended: list[EndedSession]
) -> None:
    owner = owner_of(services.config.namespace, own.user_id)
    ids = [] if owner is None else await _list_others(services, owner, own.id, limit)
    if len(ids) < limit:
        return
    read = partial(_read_session, services, owner)
    found = [await read(each) for each in ids] if len(ids) <= FEW else await Gather(read, ids)
    others: list[LiveSession] = [each for each in found if each is not None]
    others.sort(key=lambda each: each[0].created_at, reverse=True)
    surplus = [each for each in others[limit - 1 :] if _is_earlier(each[0], own)]
    for head, labels in surplus[: -ENDED_MAX - 1 : -1]:
        if await services.session_items.end_since(head):
            await SessionMetadata(services).drop(head.id)
            ended.append(EndedSession(head.id, head.created_at, labels))
            await announce_async(session_ended, head.id, reason=REASON)


async def _read_session(
    services: Services, owner: str | None, session_id: str
) -> LiveSession | None:
    """Return a live session of an owner; None for anything else, such as a grant."""
    head = await load_head(services, session_id)
    if head is None or head.owner != owner or not await is_listed(services, head):
        return None
    labels = await _read_labels(services, session_id)
    return None if labels is None or are_of_grant(labels) else (head, labels)


async def _read_labels(services: Services, session_id: str) -> Labels | None:
    """Return the labels of a session or grant; None if there are some, and they are not readable.

    Then it may be a grant. No grant is stored without them. Raises StoreUnavailable.
    """
    item = await services.table.get(id_of(services, session_id))
    return {} if item is None else await SessionMetadata(services).read_item(item) or None


async def _list_others(services: Services, owner: str, own_id: str, limit: int) -> list[str]:
    """Return the ids of a user's other sessions and grants in the index, newest first."""
    page = await services.queries.owned(owner, limit=limit + BESIDE_MAX)
    keys = [key for key in page.items if key["id"]["S"] != own_id]
    return [key["id"]["S"] for key in keys if await may_be_live(services, key)]


def _is_earlier(head: RecordHead, own: LoadedVersion) -> bool:
    """Return True if a session's sign-in was certainly before this one."""
    if head.created_at == own.created_at:
        return order.is_before(head.id, own.id)
    return head.created_at < own.created_at
