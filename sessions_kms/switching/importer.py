"""Sessions of Django's database engines, taken over under the keys that the visitors hold.

Takes rows of `django_session` and gives sealed records. A row stays for processes that still
run the old engine. With the record a mark is written that outlives it (`moved_marks`): a row is
taken over once, so that it never brings back a session that has been ended since.
"""

import logging
from collections.abc import Iterable, Iterator
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

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, SessionTooLarge, TableUnavailable
from sessions_kms.format.kinds import SESSION_KEY, SHORT_ID
from sessions_kms.format.serializer import codec_of
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services, id_of
from sessions_kms.session import links
from sessions_kms.storage import not_before
from sessions_kms.storage.session_items import RecordExists
from sessions_kms.switching.moved_marks import mark

logger = logging.getLogger("sessions_kms")

CHUNK = 200  # rows read at once
THREADS = 8  # writing at once


@dataclass(frozen=True)
class OldSession:
    """A live row. ``content`` is None where its data cannot be read."""

    key: str = field(repr=False)
    ends_at: int
    content: dict[str, Any] | None = field(repr=False)


class AllEnded(Exception):
    """All sessions until some moment were ended; the old engine does not say when its own began."""


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
        try:
            return self.store.get_model_class().objects
        except RuntimeError as exc:  # Django's word for a model of an app that is not installed
            raise ImproperlyConfigured(
                "The old engine's app, such as django.contrib.sessions, must still be in"
                " INSTALLED_APPS: its table is read."
            ) from exc

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

    def still_there(self, sessions: Iterable[OldSession]) -> set[str]:
        """Return the keys of these sessions whose rows are still live."""
        keys = [old.key for old in sessions]
        return set(self._live().filter(session_key__in=keys).values_list("session_key", flat=True))

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
        return OldSession(row.session_key, ends_at, content)


class Importer:
    """Seals old sessions; what became of each is one word, counted in ``counts``."""

    def __init__(
        self, services: Services, old: OldEngine, *, ignore_not_before: bool = False
    ) -> None:
        outcomes = ("imported", "there already", "ended meanwhile", "unreadable", "too large")
        self.counts = dict.fromkeys(outcomes, 0)
        self._services = services
        self._old = old
        self._ignore_not_before = ignore_not_before
        self._sealing = Sealing(services)
        self._codec = codec_of(old.store().serializer)

    def take_all(self) -> Iterator[int]:
        """Take over every live session; yield how many more were looked at.

        May be stopped and run again at any time. Raises AllEnded and StoreUnavailable.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="import") as pool:
            for sessions in self._old.sessions():
                now = self.moment()
                outcomes = list(pool.map(lambda old, now=now: self.seal(old, now), sessions))
                self._settle(sessions, outcomes)
                yield len(sessions)

    def take(self, old: OldSession) -> None:
        """Take over one session. Raises AllEnded and StoreUnavailable."""
        self.seal(old, self.moment())

    def moment(self) -> int:
        """Return when what is taken over next begins. Raises AllEnded and TableUnavailable.

        The table is asked afterwards: a moment that is set later ends what begins now.
        """
        now = int(self._services.clock())
        try:
            told = (
                self._services.config.not_before or 0,
                run_sync(self._services.not_before_items.get()),
            )
        except InvalidRecord as exc:
            raise TableUnavailable from exc
        ended = any(0 < moment <= not_before.latest(now) for moment in told)
        if ended and not self._ignore_not_before:
            raise AllEnded
        return now

    def seal(self, old: OldSession, now: int) -> str:
        """Store one session, unless it was taken over before; return what became of it."""
        __traceback_hide__ = True
        if old.content is None or not SESSION_KEY.fullmatch(old.key):
            return "unreadable"
        try:
            self._store(old, old.content, now)
        except RecordExists:
            return "there already"
        except SessionTooLarge:
            return "too large"
        return "imported"

    def _store(self, old: OldSession, content: dict[str, Any], now: int) -> None:
        __traceback_hide__ = True
        timeout = self._services.config.absolute_timeout
        end = old.ends_at if timeout is None else min(old.ends_at, now + timeout)
        record = run_sync(self._sealing.seal(self._codec.dumps(content))).record(
            old.key,
            revision=1,
            created_at=now,
            ttl=end,
            user_id=content.get(USER_ID),
        )
        # A session that was here before, and went back, has names by which it may be ended.
        run_sync(links.write(self._services, record, links.names_in(content)))
        if content.get(USER_ID) is not None:
            run_sync(about.About(self._services).write(record, about.words_in(content)))
        run_sync(
            self._services.session_items.take_over(
                record,
                mark=mark(self._services, record.id, row_ends_at=old.ends_at),
                now=record.updated_at,
            )
        )
        if fault := links.fault_in(content.get(links.LINKS, [])):
            logger.warning(
                "Session %s... keeps something else under %r, which is ignored there: %s",
                record.id[:SHORT_ID],
                links.LINKS,
                fault,
            )

    def _settle(self, sessions: list[OldSession], outcomes: list[str]) -> None:
        """End what was signed out of, or changed its key, in the old engine meanwhile."""
        alive = self._old.still_there(sessions)
        for old, outcome in zip(sessions, outcomes, strict=True):
            gone = outcome == "imported" and old.key not in alive
            # One that changed its key here meanwhile lives on.
            gone = gone and run_sync(self._services.session_items.end(id_of(old.key)))
            self.counts["ended meanwhile" if gone else outcome] += 1


@contextmanager
def _own_connection() -> Iterator[None]:
    """Use the database in a thread that is not a request's: nothing else closes its connection."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
