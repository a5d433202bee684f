"""What is stored, loaded: the session's content, and the snapshot that a save starts from.

A session key enters; content and `Snapshot` leave. Whatever is not, or not valid, is no
session; what cannot be told is StoreUnavailable.
"""

import logging
from functools import partial
from typing import Any, Protocol, TypeAlias

from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.exceptions import InvalidRecord, SessionMoved
from sessions_kms.format.kinds import SHORT_ID, session_id
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.serializer import Codec
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services
from sessions_kms.session import next_cookie
from sessions_kms.session.next_cookie import TRIED_MAX
from sessions_kms.session.snapshot import Snapshot
from sessions_kms.signals import announced, session_refused
from sessions_kms.storage.confirmation_limit import Confirm
from sessions_kms.storage.doubts import once_more
from sessions_kms.storage.session_items import Stored
from sessions_kms.telemetry import Block, telemetry

logger = logging.getLogger("django.security.SuspiciousSession")

GRANT = "_grant"  # what marks the session of a grant, which tokens open

Found: TypeAlias = tuple[Snapshot, dict[str, Any]]


class Loads(Protocol):
    """Where sessions are loaded from."""

    async def load(self, session_key: str) -> Found | None:
        """Return what a key opens, or one that the request's cookies say has followed it."""
        ...


class Loading:
    """Loads sessions from the table."""

    def __init__(self, services: Services, codec: Codec) -> None:
        self._services = services
        self._codec = codec
        self._sealing = Sealing(services)
        self._items = services.session_items
        self._namespace = services.config.namespace

    async def load(self, session_key: str) -> Found | None:
        """Return what a key opens, or one that the request's cookies say has followed it.

        None where that is no session. Raises SessionMoved where it may have a key that no
        cookie tells, StoreUnavailable where it cannot be told.
        """
        __traceback_hide__ = True
        with telemetry.spanned("operation", "load") as done:
            done.outcome = "none"
            found = await self._look_up(session_key, done, Confirm.LIMITED)
            if isinstance(found, Tombstone):
                found = await self._follow(session_key, found, done)
            if found is not None:
                done.outcome = "ok"
            return found

    async def exists(self, session_key: str) -> bool:
        """Tell whether a live session has this key."""
        __traceback_hide__ = True
        record_id = session_id(self._namespace, session_key)
        try:
            stands = await self.standing(record_id, confirm=Confirm.LIMITED)
        except InvalidRecord as exc:
            reason = exc.reason
        else:
            if not isinstance(stands, SessionRecord):
                return False
            return await self._services.is_live(stands)
        await refused(record_id, reason)
        return False

    async def standing(self, record_id: str, *, confirm: Confirm = Confirm.ALWAYS) -> Stored:
        """Return what stands under an id; what is not valid is read once more."""
        return await once_more(partial(self._items.find, record_id, confirm=confirm))

    async def opened(self, record: SessionRecord, session_key: str) -> Found:
        """Open a record. Raises InvalidRecord or StoreUnavailable."""
        __traceback_hide__ = True
        payload = await self._sealing.open(record, session_key)
        content = self._codec.loads(payload)
        return Snapshot.of(record, session_key, payload, content), content

    async def surely_opened(self, record: SessionRecord, session_key: str) -> Found:
        """Open a record that came with an answer; what is not valid is read once more."""
        __traceback_hide__ = True
        try:
            return await self.opened(record, session_key)
        except InvalidRecord as exc:
            telemetry.count("doubts", reason=exc.reason)
        stands = await self._items.find(record.id)
        again = await self.live(stands)
        return await self.opened(again, session_key)

    async def live(self, stands: Stored) -> SessionRecord:
        """Return what stands where it is a session. Raises UpdateError, SessionMoved."""
        if isinstance(stands, Tombstone):
            raise SessionMoved
        if stands is None or not await self._services.is_live(stands):
            raise UpdateError
        return stands

    async def _follow(self, key: str, tombstone: Tombstone, done: Block) -> Found | None:
        """Return what opens of the keys that the request's cookies name for one that has moved.

        Each of them that has moved as well is followed in turn, and no other: a read for every
        name that somebody made up would be theirs to multiply. Raises SessionMoved where the
        new key may be on its way.
        """
        __traceback_hide__ = True
        unsettled = self._services.is_unsettled(tombstone)
        keys, moved, tried = next_cookie.keys_for(key), [key], {key}
        for old in moved:
            for new in keys.following(old, self._namespace) if keys else ():
                if new in tried or len(tried) > TRIED_MAX:
                    continue
                tried.add(new)
                # The first is the one that an honest browser has; others may be made up.
                confirm = Confirm.LIMITED if len(tried) == 2 else Confirm.NEVER
                found = await self._look_up(new, done, confirm)
                if isinstance(found, Tombstone):
                    unsettled |= self._services.is_unsettled(found)
                    moved.append(new)
                elif found is not None:
                    return found
        if unsettled:
            raise SessionMoved
        return None

    async def _look_up(self, key: str, done: Block, confirm: Confirm) -> Found | Tombstone | None:
        """Look what a key opens, once more where that is not valid; it is refused then."""
        __traceback_hide__ = True
        record_id = session_id(self._namespace, key)
        for is_sure in (False, True):
            try:
                stands = await self._items.find(record_id, confirm=confirm)
                return await self._opened_by(key, stands)
            except InvalidRecord as exc:
                reason = exc.reason
            if not is_sure:
                telemetry.count("doubts", reason=reason)
        done.outcome = "refused"
        await refused(record_id, reason)
        return None

    async def _opened_by(self, key: str, stands: Stored) -> Found | Tombstone | None:
        """Return what a key opens of what stands under its id."""
        __traceback_hide__ = True
        if not isinstance(stands, SessionRecord):
            return stands
        if not await self._services.is_live(stands):
            return None
        found = await self.opened(stands, key)
        # Its key never left the server: whoever shows it as a cookie has it from elsewhere.
        return found if (GRANT in found[1]) is self._services.for_grants else None


async def refused(record_id: str, reason: str) -> None:
    """Tell who listens that a record was not taken for a session.

    Not from within the handler of the record's error, which what ends this would lead to.
    """
    logger.warning("Session record %s... refused: %s", record_id[:SHORT_ID], reason)
    telemetry.count("refusals", reason=reason)
    await announced(session_refused, record_id, reason=reason)
