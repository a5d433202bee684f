"""`SESSION_ENGINE` for the time of the change from a database engine: reads both, writes ours.

A session that is found in the old engine only is taken over when it is first read, under
the key that its visitor holds. Processes that still run the old engine go on with its row.
"""

from functools import cache
from typing import Any

from django.core.signals import setting_changed

from sessions_kms import backend, conf
from sessions_kms.baseline import Baseline
from sessions_kms.importing import AllEnded, Importer, OldEngine, OldSession, mark_of
from sessions_kms.loading import id_of
from sessions_kms.services import services


class SessionStore(backend.SessionStore):
    """Sessions of ours, and those that are still in `MIGRATE_FROM`."""

    def exists(self, session_key: str) -> bool:
        """Tell whether a live session has this key, here or there."""
        __traceback_hide__ = True
        return super().exists(session_key) or self._there(session_key) is not None

    def cycle_key(self) -> None:
        """Move the session to a new key; the old engine's row of the former one ends."""
        former = self.session_key
        super().cycle_key()
        if former and former != self.session_key:
            _old().end(former)

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session, here and there."""
        __traceback_hide__ = True
        super().delete(session_key)
        key = self.session_key if session_key is None else session_key
        if key is not None and self._validate_session_key(key):
            _old().end(key)

    def _read(self) -> tuple[Baseline, dict[str, Any]] | None:
        found = super()._read()
        if found is not None or (old := self._there(self._key)) is None:
            return found
        try:
            Importer(services(), _old()).take(old)
        except AllEnded:
            return None
        return super()._read()

    def _there(self, session_key: str) -> OldSession | None:
        """Return the old engine's session of this key, unless it was taken over before."""
        __traceback_hide__ = True
        if not self._validate_session_key(session_key):
            return None
        old = _old().find(session_key)
        if old is None or services().not_before.moment() > 0:
            return None
        mark = services().table.get_item(mark_of(services(), id_of(session_key)))
        return old if mark is None else None


@cache
def _old() -> OldEngine:
    return OldEngine(conf.config().migrate_from)


def _forget(*, setting: str, **_: Any) -> None:
    if setting == conf.SETTING:
        _old.cache_clear()


setting_changed.connect(_forget, dispatch_uid="sessions_kms.moving_in")
