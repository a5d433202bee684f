"""Sessions, stored: what loads, creates, saves, moves and ends them, put together.

Keys, drafts and snapshots enter; snapshots leave, and the caller goes on from them. Knows no
`SessionStore`, and remembers nothing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from django.contrib.sessions.backends.base import CreateError, UpdateError

from sessions_kms.concurrency.lazy_module import LazyModule
from sessions_kms.exceptions import SessionMoved
from sessions_kms.format.kinds import session_id
from sessions_kms.format.serializer import Codec
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import About
from sessions_kms.services import Services
from sessions_kms.session import links
from sessions_kms.session.draft import Draft, sealed
from sessions_kms.session.loading import Found, Loading, Loads
from sessions_kms.session.snapshot import Snapshot
from sessions_kms.storage.session_items import RecordExists
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from sessions_kms.session import moving, saving
else:  # Most requests save nothing.
    moving = LazyModule("sessions_kms.session.moving")
    saving = LazyModule("sessions_kms.session.saving")

KEPT_MAX: Final = 16  # of a project that names another serializer for each kind of session, say


class Repository:
    """The sessions of one namespace, as one serializer writes them.

    ``loads`` is where they are loaded from, if not from the table alone. Every verb raises
    StoreUnavailable where it cannot tell.
    """

    def __init__(self, services: Services, codec: Codec, loads: Loads | None = None) -> None:
        self._services = services
        self._codec = codec
        self._loading = Loading(services, codec)
        self._loads = loads or self._loading

    @classmethod
    def of(cls, services: Services, codec: Codec) -> "Repository":
        """Return the one that is kept with these services, for all who load from the table."""
        kept = services.kept
        if (found := kept.get(codec)) is None:
            if len(kept) >= KEPT_MAX:
                kept.clear()
            found = kept[codec] = cls(services, codec)
        return found

    async def load(self, session_key: str) -> Found | None:
        """Return what a key opens, or one that the request's cookies say has followed it."""
        __traceback_hide__ = True
        return await self._loads.load(session_key)

    async def exists(self, session_key: str) -> bool:
        """Tell whether a live session has this key."""
        __traceback_hide__ = True
        return await self._loading.exists(session_key)

    async def create(self, draft: Draft) -> Snapshot:
        """Store a draft where no live session is.

        Raises CreateError where there is one, FateUnknown where it may be stored yet,
        SessionTooLarge or ValueError for what may not be stored.
        """
        __traceback_hide__ = True
        services = self._services
        record, made = await sealed(services, self._codec, draft, None)
        if made.links:
            await links.write(services, record, made.links)
        if words := about.told(made):
            await About(services).write(record, words)
        try:
            with telemetry.spanned("operation", "create"):
                await services.session_items.create(record, now=record.updated_at)
        except RecordExists:
            raise CreateError from None
        return made

    async def save(self, draft: Draft, base: Snapshot) -> Snapshot:
        """Store a draft that started from a snapshot (`Saving.saved`)."""
        __traceback_hide__ = True
        return await saving.Saving(self._services, self._codec, self._loading, draft, base).saved()

    async def move(self, draft: Draft, base: Snapshot, new_key: str) -> Snapshot:
        """Store a draft under a new key, and end what stands under the old one (`Moving.moved`)."""
        __traceback_hide__ = True
        draft = replace(draft, session_key=new_key)
        return await moving.Moving(self._services, self._codec, self._loading, draft, base).moved()

    async def end(self, session_key: str, base: Snapshot | None) -> None:
        """End a session, of which this is known.

        Raises SessionMoved where it lives on under a key that nobody told.
        """
        __traceback_hide__ = True
        record_id = self._id(session_key)
        with telemetry.spanned("operation", "delete"):
            salt = None if base is None else base.salt
            if not await self._services.session_items.end(record_id, salt=salt):
                raise SessionMoved
            if base is not None and base.about:
                await About(self._services).drop(record_id)

    async def must_be_there(self, session_key: str) -> None:
        """Raise UpdateError where no session has this key, SessionMoved where one had."""
        __traceback_hide__ = True
        if await self._loading.exists(session_key):
            return
        stands = await self._services.session_items.find(self._id(session_key))
        raise SessionMoved if isinstance(stands, Tombstone) else UpdateError

    def _id(self, session_key: str) -> str:
        __traceback_hide__ = True
        return session_id(self._services.config.namespace, session_key)
