"""`SESSION_ENGINE` while moving from a database or cache engine: reads both, writes this one.

A session that is only in the old engine is imported when it is first read, under the key that its
visitor's cookie has. Processes that still run the old engine continue to use its row.
"""

import logging
from functools import cache
from typing import Any

from django.core.signals import setting_changed

from sessions_kms import backend, conf
from sessions_kms.concurrency.waits import BlockingCall, run_sync
from sessions_kms.format.item_types import SESSION_KEY, SHORT_ID
from sessions_kms.operations.old_engines import OldEngine, OldSession, load_engine
from sessions_kms.operations.session_import import (
    AllEnded,
    Importer,
    is_marked,
    new_mark,
)
from sessions_kms.services import Services, id_of, services
from sessions_kms.session.repository import LoadedSession, SessionRepository

logger = logging.getLogger("sessions_kms")


class SessionStore(backend.SessionStore):
    """Sessions of this engine, and those that are still in `MIGRATE_FROM`."""

    def exists(self, session_key: str) -> bool:
        """Return True if a live session has this key in either engine."""
        __traceback_hide__ = True
        # In this order: it may be imported meanwhile.
        return self._is_there(session_key) or super().exists(session_key)

    def cycle_key(self) -> None:
        """Move the session to a new key; delete the old engine's row of the previous one."""
        __traceback_hide__ = True
        previous = self.session_key
        super().cycle_key()
        if previous and previous != self.session_key:
            _delete_row(previous)

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session, in both engines."""
        __traceback_hide__ = True
        key = run_sync(self._get_own_key()) if session_key is None else session_key
        if key is None or not self._validate_session_key(key):
            return
        if (old := _old().find(key)) is not None:
            # Another request may be about to import it, and its row may outlast an error.
            ended = new_mark(services(), id_of(key), row_ends_at=old.ends_at)
            run_sync(services().table.put(ended))
        super().delete(key)
        _old().end(key)

    def _repository(self) -> SessionRepository:
        return ImportingRepository(services(), self._codec)

    def _is_there(self, session_key: str) -> bool:
        __traceback_hide__ = True
        row = _row(services(), session_key)
        return row is not None and not is_marked(services(), id_of(session_key))


class ImportingRepository(SessionRepository):
    """Loads sessions from the table, and imports those that only the old engine has."""

    async def load(self, session_key: str) -> LoadedSession | None:
        """Return the session of a key, here or there. Raises as `SessionRepository.load` does."""
        __traceback_hide__ = True
        found = await super().load(session_key)
        if found is not None or not await BlockingCall(self._is_imported, (session_key,)):
            return found
        # Another request may have imported it in the meantime.
        return await super().load(session_key)

    def _is_imported(self, session_key: str) -> bool:
        """Import a session unless it was imported before; return False if there is none."""
        __traceback_hide__ = True
        if (old := _row(self.services, session_key)) is None:
            return False
        if not is_marked(self.services, id_of(session_key)):
            try:
                importer = Importer(self.services, _old())
                importer.import_at(old, importer.get_start())
            except AllEnded:
                return False
        return True


def _row(services: Services, session_key: str) -> OldSession | None:
    """Return the old engine's session of a key, unless it must have ended."""
    __traceback_hide__ = True
    if not SESSION_KEY.fullmatch(session_key):
        return None
    old = _old().find(session_key)
    return None if old is None or run_sync(services.not_before.moment()) > 0 else old


def _delete_row(session_key: str) -> None:
    """Delete the row of a previous key; a failure must not keep the visitor from the new key."""
    __traceback_hide__ = True
    try:
        _old().end(session_key)
    except Exception as exc:  # noqa: BLE001 - a database, and perhaps a cache, of any kind
        # Its mark keeps it from being imported again. The error's frames hold the key.
        logger.warning(
            "Could not delete the old engine's row of session %s..., whose key has changed: %s",
            id_of(session_key)[:SHORT_ID],
            type(exc).__name__,
        )


@cache
def _old() -> OldEngine:
    return load_engine(conf.config().migrate_from, lambda: services().clock())


def _forget(*, setting: str, **_: Any) -> None:
    if setting == conf.SETTING:
        _old.cache_clear()


setting_changed.connect(_forget, dispatch_uid="sessions_kms.moving_in")
