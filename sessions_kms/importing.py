"""Sessions of Django's database engines, taken over under the keys that the visitors hold.

Takes rows of `django_session` and gives sealed records. A row that was taken over stays
for processes that still run the old engine, and says so: when its record has been ended
since, the row does not bring the session back.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections
from django.utils import timezone

from sessions_kms.codec import Codec
from sessions_kms.exceptions import SessionTooLarge
from sessions_kms.loading import SESSION_KEY, id_of
from sessions_kms.sealing import seal_session
from sessions_kms.services import Services
from sessions_kms.table import RecordExists

MOVED = "_moved_to_sessions_kms"
CHUNK = 200  # rows read at once
THREADS = 8  # writing at once


@dataclass(frozen=True)
class OldSession:
    """A live row. ``content`` is None where its data cannot be read."""

    key: str = field(repr=False)
    data: str = field(repr=False)
    ends_at: int
    content: dict[str, Any] | None = field(repr=False)

    @property
    def moved(self) -> bool:
        """Whether it was taken over before."""
        return self.content is not None and self.content.get(MOVED) == id_of(self.key)


class OldEngine:
    """The engine that a project comes from: `django.contrib.sessions.backends.db` or alike."""

    def __init__(self, module: str) -> None:
        """Raise ImproperlyConfigured for an engine that keeps no rows."""
        try:
            self.store = import_module(module).SessionStore
        except (ImportError, AttributeError) as exc:
            raise ImproperlyConfigured(f"{module} is not a session engine.") from exc
        if not issubclass(self.store, DatabaseStore):
            raise ImproperlyConfigured(
                f"{module} keeps no sessions in a database: sessions of"
                " django.contrib.sessions.backends.db and cached_db can be taken over."
            )

    @cached_property
    def _rows(self) -> Any:
        return self.store.get_model_class().objects

    def count(self) -> int:
        """Return how many rows are live, taken over or not."""
        count: int = self._live().count()
        return count

    def sessions(self) -> Iterator[list[OldSession]]:
        """Yield all live sessions, some at a time, in the order of their keys."""
        after = ""
        while rows := list(
            self._live().filter(session_key__gt=after).order_by("session_key")[:CHUNK]
        ):
            yield [self._read(row) for row in rows]
            after = rows[-1].session_key

    def find(self, key: str) -> OldSession | None:
        """Return the live session of this key."""
        with _own_connection():
            row = self._live().filter(session_key=key).first()
            return None if row is None else self._read(row)

    def mark(self, old: OldSession) -> None:
        """Have the row say that it was taken over, unless it has changed meanwhile."""
        if old.content is None:
            return
        with _own_connection():
            data = self.store().encode({**old.content, MOVED: id_of(old.key)})
            self._rows.filter(session_key=old.key, session_data=old.data).update(session_data=data)

    def end(self, key: str) -> None:
        """Delete the row of this key."""
        with _own_connection():
            self.store(key).delete(key)

    def _live(self) -> Any:
        return self._rows.filter(expire_date__gt=timezone.now())

    def _read(self, row: Any) -> OldSession:
        # Django gives nothing for data that it did not sign; an empty session is no loss either.
        content = self.store().decode(row.session_data) or None
        ends_at = int(row.expire_date.timestamp())
        return OldSession(row.session_key, row.session_data, ends_at, content)


class Importer:
    """Seals old sessions; what became of each is one word, counted in ``counts``."""

    def __init__(self, services: Services, old: OldEngine) -> None:
        self.counts = dict.fromkeys(("imported", "there already", "unreadable", "too large"), 0)
        self._services = services
        self._old = old
        self._codec = Codec(old.store().serializer())

    def take_all(self) -> Iterator[int]:
        """Take over every live session; yield how many more were looked at.

        May be stopped and run again at any time. Raises StoreUnavailable.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="import") as pool:
            for sessions in self._old.sessions():
                for old, outcome in zip(sessions, pool.map(self.seal, sessions), strict=True):
                    self._settle(old, outcome)
                yield len(sessions)

    def take(self, old: OldSession) -> None:
        """Take over one session. Raises StoreUnavailable."""
        self._settle(old, self.seal(old))

    def seal(self, old: OldSession) -> str:
        """Store one session, unless it was taken over before; return what became of it."""
        __traceback_hide__ = True
        if old.content is None or not SESSION_KEY.fullmatch(old.key):
            return "unreadable"
        if old.moved:
            return "there already"
        try:
            self._store(old, self._codec.dumps(old.content))
        except RecordExists:
            return "there already"
        except SessionTooLarge:
            return "too large"
        return "imported"

    def _store(self, old: OldSession, payload: bytes) -> None:
        __traceback_hide__ = True
        record = seal_session(
            self._services,
            payload,
            session_key=old.key,
            revision=1,
            created_at=None,
            ttl=lambda now, created_at: self._end(old, created_at),
            user_id=(old.content or {}).get(USER_ID),
        )
        self._services.table.create(record, now=record.updated_at)

    def _end(self, old: OldSession, created_at: int) -> int:
        """Return the row's own end, below the absolute timeout counted from now."""
        timeout = self._services.config.absolute_timeout
        return old.ends_at if timeout is None else min(old.ends_at, created_at + timeout)

    def _settle(self, old: OldSession, outcome: str) -> None:
        self.counts[outcome] += 1
        if outcome in {"imported", "there already"} and not old.moved:
            self._old.mark(old)


@contextmanager
def _own_connection() -> Iterator[None]:
    """Use the database in a thread that is not a request's: nothing else closes its connection."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
