"""What is stored, loaded: the session's content, and the baseline that a save starts from.

A session key enters; content and `Baseline` leave. Whatever is not, or not valid, is no
session; what cannot be told is StoreUnavailable.
"""

import logging
import re
from functools import partial
from typing import Any, cast

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.concurrency.error_checking_lock import GuardedLock
from sessions_kms.exceptions import InvalidRecord, SessionMoved
from sessions_kms.format.kinds import session_id
from sessions_kms.format.record import SHORT_ID, SessionRecord
from sessions_kms.format.serializer import Codec
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import services
from sessions_kms.session import next_cookie
from sessions_kms.session.async_methods import AsyncStore, sync_only
from sessions_kms.session.snapshot import Baseline
from sessions_kms.signals import announce, session_refused
from sessions_kms.storage.doubts import once_more
from sessions_kms.telemetry import Timed, telemetry

logger = logging.getLogger("django.security.SuspiciousSession")

SESSION_KEY = re.compile(r"[a-z0-9]{32}")

Found = tuple[Baseline, dict[str, Any]]


class LoadingStore(AsyncStore):
    """A session that can be read."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._codec = Codec(self.serializer())
        self._baseline: Baseline | None = None
        self._signed_in = False
        self._caught_up = False
        self._loading = GuardedLock()

    def exists(self, session_key: str) -> bool:
        """Tell whether a live session has this key."""
        __traceback_hide__ = True
        sync_only()
        if not self._validate_session_key(session_key):
            return False
        try:
            record = once_more(partial(services().table.get, id_of(session_key)))
        except InvalidRecord as exc:
            refuse(id_of(session_key), exc)
            return False
        return record is not None and services().is_live(record)

    def load(self) -> dict[str, Any]:
        """Return what is stored; for a session that is not, or not valid, {} and no key."""
        sync_only()
        return self._load()[1]

    def _load(self) -> tuple[Baseline | None, dict[str, Any]]:
        found = self._read() if self.session_key else None
        if found is None:
            self._session_key = None
            return None, {}
        return found

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            if self.session_key is not None and not no_load:
                sync_only()  # Before the lock, which a thread may hold for as long as it loads.
            with self._loading:  # Concurrent tasks of one request share one load.
                if not hasattr(self, "_session_cache"):
                    self._session_cache = self._first_content(no_load)
        return self._session_cache

    _session = property(_get_session)

    def _first_content(self, no_load: bool) -> dict[str, Any]:
        if no_load or self.session_key is None:
            return {}
        self._baseline, content = self._load()
        return content

    def _read(self) -> Found | None:
        """Read what the key opens, or one that the request's cookies say has followed it."""
        __traceback_hide__ = True
        unsettled = False
        with telemetry.spanned("operation", "load") as done:
            done.outcome = "none"
            for key in next_cookie.chain(self._key):
                found = self._look_up(key, done)
                if isinstance(found, Tombstone):
                    unsettled |= services().is_unsettled(found)
                elif found is not None:
                    done.outcome = "ok"
                    self._settle(key)
                    return found
            if unsettled:
                raise SessionMoved
            return None

    def _look_up(self, key: str, done: Timed) -> Found | Tombstone | None:
        __traceback_hide__ = True
        try:
            return once_more(partial(self._look, key))
        except InvalidRecord as exc:
            refuse(id_of(key), exc)
            done.outcome = "refused"
            return None

    def _look(self, key: str) -> Found | Tombstone | None:
        __traceback_hide__ = True
        stands = services().table.find(id_of(key))
        if not isinstance(stands, SessionRecord):
            return stands
        return self._open(stands, key) if services().is_live(stands) else None

    def _settle(self, key: str) -> None:
        __traceback_hide__ = True
        if key != self.session_key:
            self._session_key = key
            next_cookie.settled(self)

    def _open(self, record: SessionRecord, key: str) -> Found:
        __traceback_hide__ = True
        payload = Sealing(services()).open(record, key)
        content = self._codec.loads(payload)
        return Baseline.of(record, key, payload, content), content

    def created(self) -> int | None:
        baseline = self._baseline
        if baseline is None or baseline.session_key != self.session_key:
            return None
        return None if self._starts_anew(baseline) else baseline.created_at

    def _starts_anew(self, baseline: Baseline) -> bool:
        """Tell whether someone signed in since, so that the absolute timeout starts again."""
        user_id = self._session_cache.get(USER_ID) if hasattr(self, "_session_cache") else None
        return self._signed_in or (user_id is not None and user_id != baseline.user_id)

    @property
    def _key(self) -> str:
        """The session key, where there must be one."""
        return cast("str", self.session_key)

    def _id(self) -> str:
        return id_of(self._key)

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and SESSION_KEY.fullmatch(key) is not None


def id_of(session_key: str) -> str:
    """Return the id that the session of this key is stored under."""
    __traceback_hide__ = True
    return session_id(services().config.namespace, session_key)


def refuse(record_id: str, error: InvalidRecord) -> None:
    """Tell who listens that a record was not taken for a session."""
    logger.warning("Session record %s... refused: %s", record_id[:SHORT_ID], error.reason)
    telemetry.count("refusals", reason=error.reason)
    announce(session_refused, record_id, reason=error.reason)
