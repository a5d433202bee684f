"""Reads and ends stored sessions: from a session key to its content and `LoadedVersion`.

A missing or invalid record means no session; if that cannot be decided, all methods raise
StoreUnavailable. Does not depend on `SessionStore`. `saving` and `moving` write.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self, TypeAlias

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.aws.clock import system_time
from sessions_kms.exceptions import InvalidRecord, SessionMoved, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import SHORT_ID, session_id
from sessions_kms.format.record import SessionRecord, Tombstone, read_stored
from sessions_kms.format.serializer import Codec
from sessions_kms.sealed_items.about import ABOUT, CLIENT_ID, Labels, SessionMetadata, read_labels
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services
from sessions_kms.session import next_cookie
from sessions_kms.session.links import LINKS, names_in
from sessions_kms.session.next_cookie import TRIED_MAX
from sessions_kms.signals import announce_async, session_opened, session_refused
from sessions_kms.storage.session_items import Stored
from sessions_kms.storage.suspect_responses import Confirm, retry_invalid_read
from sessions_kms.telemetry import Block, telemetry

logger = logging.getLogger("django.security.SuspiciousSession")

HOUR: Final = 3600
REMEMBERED_MAX: Final = 100_000  # sessions of one hour; beyond it they are announced again
CACHED_MAX: Final = 16  # repositories: a project may use a serializer for each type of session
NO_LINKS: Final[frozenset[str]] = frozenset()
GRANT: Final = "_grant"  # marks the session of a grant, which is opened by tokens


@dataclass(kw_only=True, slots=True, eq=False)
class LoadedVersion:
    """The record that a request last loaded or wrote, and its content: the base of its changes."""

    session_key: str = field(repr=False)
    id: str  # of its item
    created_at: int
    revision: int
    salt: bytes = field(repr=False)
    ancestors: bytes = field(default=b"", repr=False)
    ttl: int
    payload: bytes = field(repr=False)
    user_id: str | None = field(repr=False)
    links: frozenset[str] = NO_LINKS
    labels: Labels = field(default_factory=dict, repr=False)
    is_unseen: bool = False  # the request never read its content: it is not merged

    @classmethod
    def of(
        cls, record: SessionRecord, session_key: str, payload: bytes, content: Mapping[str, Any]
    ) -> "LoadedVersion":
        """Return the version of a record, with its decrypted content."""
        __traceback_hide__ = True
        return cls(
            session_key=session_key,
            id=record.id,
            created_at=record.created_at,
            revision=record.revision,
            salt=record.salt,
            ancestors=record.ancestors,
            ttl=record.ttl,
            payload=payload,
            user_id=content.get(USER_ID),
            links=names_in(content) if LINKS in content else NO_LINKS,
            labels=read_labels(content) if ABOUT in content else {},
        )

    def is_followed_by_sign_in(self, user_id: Any, *, signed_in: bool) -> bool:
        """Return True if a session of this user that follows this version starts anew.

        It does after a sign-in: the signal was sent, or the user is a different one.
        """
        return signed_in or (user_id is not None and user_id != self.user_id)


LoadedSession: TypeAlias = tuple[LoadedVersion, dict[str, Any]]


class OpenedSessions:
    """The sessions that were read in the current hour."""

    def __init__(self) -> None:
        self._hour = -1
        self._ids: set[str] = set()

    def add(self, session_id: str, now: float) -> bool:
        """Add a session; return False if it was read in this hour before.

        A clock that is set back starts another hour: an event then has a time on both sides.
        """
        hour = int(now // HOUR)
        if hour != self._hour or len(self._ids) >= REMEMBERED_MAX:
            self._hour, self._ids = hour, set()
        if session_id in self._ids:
            return False
        self._ids.add(session_id)
        return True


_opened = OpenedSessions()


def _forget() -> None:
    global _opened  # noqa: PLW0603 - a forked child is another process
    _opened = OpenedSessions()


os.register_at_fork(after_in_child=_forget)


class SessionRepository:
    """The sessions of one namespace, with one serializer."""

    def __init__(self, services: Services, codec: Codec) -> None:
        self.services = services
        self.codec = codec
        self.sealing = Sealing(services)
        self._items = services.session_items
        self._namespace = services.config.namespace

    @classmethod
    def cached(cls, services: Services, codec: Codec) -> Self:
        """Return the cached repository of these services for a serializer."""
        cached = services.repositories
        if (found := cached.get(codec)) is None:
            if len(cached) >= CACHED_MAX:
                cached.clear()
            found = cached[codec] = cls(services, codec)
        return found

    async def load(self, session_key: str) -> LoadedSession | None:
        """Return the session of a key, or of a key that the request's cookies name as its next.

        Return None if there is no session. Raises SessionMoved if its key changed and no cookie
        has the new one.
        """
        __traceback_hide__ = True
        with telemetry.spanned("operation", "load") as span:
            span.outcome = "none"
            found = await self._load_key(session_key, span, Confirm.LIMITED)
            if isinstance(found, Tombstone):
                found = await self._load_next_key(session_key, found, span)
            if found is not None:
                span.outcome = "ok"
                if session_opened.receivers:
                    await self._announce_opened(found[0])
            return found

    async def _announce_opened(self, version: LoadedVersion) -> None:
        """Send `session_opened`: once in each hour of the clock for a session read here.

        The client's id is None for the session of a cookie, "" for a grant without one.
        """
        if _opened.add(version.id, system_time()):
            client_id = version.labels.get(CLIENT_ID, "") if self.services.for_grants else None
            await announce_async(
                session_opened, version.id, user_id=version.user_id, client_id=client_id
            )

    async def exists(self, session_key: str) -> bool:
        """Return True if a live session has this key."""
        __traceback_hide__ = True
        record_id = session_id(self._namespace, session_key)
        try:
            stored = await self.find(record_id, confirm=Confirm.LIMITED)
        except InvalidRecord as exc:
            reason = exc.reason
        else:
            return isinstance(stored, SessionRecord) and await self.services.is_live(stored)
        await report_invalid_record(record_id, reason)
        return False

    async def require_existing(self, session_key: str) -> None:
        """Raise UpdateError if no session has this key, SessionMoved if its key has changed."""
        __traceback_hide__ = True
        if await self.exists(session_key):
            return
        stored = await self._items.find(session_id(self._namespace, session_key))
        raise SessionMoved if isinstance(stored, Tombstone) else UpdateError

    async def end(self, session_key: str, base: LoadedVersion | None) -> Mapping[str, Any] | None:
        """End a session; ``base`` is its version, if it was loaded.

        Returns the content that was ended, if others had stored another version since. Raises
        SessionMoved if it has a new key that this request does not know.
        """
        __traceback_hide__ = True
        record_id = session_id(self._namespace, session_key)
        with telemetry.spanned("operation", "delete"):
            salt, deleted = None if base is None else base.salt, list[Item]()
            if not await self._items.end(record_id, salt=salt, note=deleted.append):
                raise SessionMoved
            if base is not None and base.labels:
                await SessionMetadata(self.services).drop(record_id)
        return await self._read_newer(deleted[0], session_key, base) if deleted and base else None

    async def _read_newer(
        self, deleted: Item, session_key: str, base: LoadedVersion
    ) -> Mapping[str, Any] | None:
        """Return the content of a deleted item, unless it is the version that was loaded."""
        __traceback_hide__ = True
        with suppress(InvalidRecord, StoreUnavailable):  # The session has ended nevertheless.
            record = read_stored(deleted)
            if not isinstance(record, SessionRecord) or record.salt == base.salt:
                return None
            return (await self.decrypt(record, session_key))[1]
        logging.getLogger(__name__).warning("What an ended session held last cannot be read.")
        return None

    async def find(self, record_id: str, *, confirm: Confirm = Confirm.ALWAYS) -> Stored:
        """Return what is stored under an id; an invalid item is read again."""
        return await retry_invalid_read(partial(self._items.find, record_id, confirm=confirm))

    async def decrypt(self, record: SessionRecord, session_key: str) -> LoadedSession:
        """Decrypt a record. Raises InvalidRecord."""
        __traceback_hide__ = True
        payload = await self.sealing.open(record, session_key)
        content = self.codec.loads(payload)
        return LoadedVersion.of(record, session_key, payload, content), content

    async def decrypt_current(self, record: SessionRecord, session_key: str) -> LoadedSession:
        """Decrypt a record that came with the response to a write; an invalid one is read again.

        Raises as `require_live` and `decrypt` do.
        """
        __traceback_hide__ = True
        try:
            return await self.decrypt(record, session_key)
        except InvalidRecord as exc:
            telemetry.count("doubts", reason=exc.reason)
        stored = await self._items.find(record.id)
        return await self.decrypt(await self.require_live(stored), session_key)

    async def require_live(self, stored: Stored) -> SessionRecord:
        """Return a stored item that is a live session. Raises UpdateError or SessionMoved."""
        if isinstance(stored, Tombstone):
            raise SessionMoved
        if stored is None or not await self.services.is_live(stored):
            raise UpdateError
        return stored

    async def _load_next_key(
        self, key: str, tombstone: Tombstone, span: Block
    ) -> LoadedSession | None:
        """Return the session of a key that the request's cookies name as the next of a moved one.

        If that key has moved as well, it is followed in turn. No other key is followed, so that
        forged cookies do not multiply reads. Raises SessionMoved if the browser may not have
        received the new key yet.
        """
        __traceback_hide__ = True
        unsettled = self.services.is_unsettled(tombstone)
        keys, moved, tried = next_cookie.keys_for(key), [key], {key}
        for old in moved:
            for new in keys.following(old, self._namespace) if keys else ():
                if new in tried or len(tried) > TRIED_MAX:
                    continue
                tried.add(new)
                # A real browser has only the first; others may be forged.
                confirm = Confirm.LIMITED if len(tried) == 2 else Confirm.NEVER
                found = await self._load_key(new, span, confirm)
                if isinstance(found, Tombstone):
                    unsettled |= self.services.is_unsettled(found)
                    moved.append(new)
                elif found is not None:
                    return found
        if unsettled:
            raise SessionMoved
        return None

    async def _load_key(
        self, key: str, span: Block, confirm: Confirm
    ) -> LoadedSession | Tombstone | None:
        """Return the session or the tombstone of a key; an invalid record is read again."""
        __traceback_hide__ = True
        record_id = session_id(self._namespace, key)
        for is_second in (False, True):
            try:
                item = await self.services.table.get(record_id, confirm=confirm)
                stored = None if item is None else read_stored(item)
                if not isinstance(stored, SessionRecord):
                    return stored
                if not await self.services.is_live(stored):
                    return None
                found = await self.decrypt(stored, key)
            except InvalidRecord as exc:
                reason = exc.reason
            else:
                # A grant's key never leaves the server: one in a cookie was stolen.
                return found if (GRANT in found[1]) is self.services.for_grants else None
            if not is_second:
                telemetry.count("doubts", reason=reason)
        span.outcome = "refused"
        await report_invalid_record(record_id, reason)
        return None


async def report_invalid_record(record_id: str, reason: str) -> None:
    """Log, count and announce a record that was rejected.

    Call it outside `except`: receivers must not see the record's error, whose frames hold keys.
    """
    logger.warning("Session record %s... refused: %s", record_id[:SHORT_ID], reason)
    telemetry.count("refusals", reason=reason)
    await announce_async(session_refused, record_id, reason=reason)
