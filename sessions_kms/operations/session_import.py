"""Sessions of another engine, imported under the session keys in visitors' cookies.

A row of `django_session`, or an entry of a cache, becomes a sealed record. The row stays, for
processes that still run the old engine. A mark is written together with the record and outlives it:
a row is imported only once, so it never restores a session that has ended since.

While a project changes its engine, in either direction, a session key may have a row, a record and
a mark. They decide which of the two is the session:

| row | record | mark | the session | `moving_in`, `import_sessions` | `moving_out`       |
|-----|--------|------|-------------|--------------------------------|--------------------|
|     |        |      | is none     | nothing                        | nothing            |
| x   |        |      | is the row  | imports it: row, record, mark  | uses the row       |
|     | x      |      | is sealed   | uses the record                | moves it back: row |
|     | x      | x    | is sealed   | uses the record                | moves it back: row |
| x   | x      | x    | is sealed   | uses the record                | moves it back: row |
| x   |        | x    | has ended   | nothing                        | deletes the row    |
|     |        | x    | has ended   | nothing                        | nothing            |
| x   | x      |      | impossible  |                                |                    |

A tombstone is not a record: the session continues under another key, which has neither row nor
mark. For 15 seconds, a request with the old key is told to retry.

An import writes record and mark in one transaction. In the other direction, the mark is written
before the row, and another transaction deletes both when the row is the session. So after a failure
between any two writes, the next request finds one of these states. Ending a session leaves its
mark, or writes one: a row that another request is about to write counts as ended.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, SessionTooLarge, TableUnavailable
from sessions_kms.format.attributes import Item, as_number
from sessions_kms.format.item_types import MOVED, SESSION_KEY, SHORT_ID
from sessions_kms.format.serializer import codec_of
from sessions_kms.operations.old_engines import OldEngine, OldSession
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services, id_of
from sessions_kms.session import links
from sessions_kms.storage import not_before
from sessions_kms.storage.session_items import RecordExists
from sessions_kms.storage.suspect_responses import Confirm

# Seconds after the row's end: a process of the old release may have extended the row.
MARKED_FOR = 90 * 24 * 3600


def mark_id(services: Services, session_id: str) -> str:
    """Return the id of a session's mark."""
    return MOVED.id_in(services.config.namespace, session_id)


def new_mark(services: Services, session_id: str, *, row_ends_at: int) -> Item:
    """Return the mark of a session whose row ends at this time."""
    marked = MOVED.item(mark_id(services, session_id))
    return marked | {"ttl": as_number(row_ends_at + MARKED_FOR)}


def is_marked(services: Services, session_id: str) -> bool:
    """Return True if a session without a record has ended. Raises TableUnavailable."""
    item_id = mark_id(services, session_id)
    return run_sync(services.table.get(item_id, confirm=Confirm.LIMITED)) is not None


logger = logging.getLogger("sessions_kms")

THREADS = 8  # writing at once
LEFT = ("unreadable", "not serializable", "too large")
OUTCOMES = ("imported", "there already", "ended meanwhile", *LEFT)


class AllEnded(Exception):
    """All sessions before some time were ended, and the old engine does not store start times."""


class Importer:
    """Imports old sessions. ``counts`` has the number of each outcome."""

    def __init__(
        self, services: Services, old: OldEngine, *, ignore_not_before: bool = False
    ) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._services = services
        self._old = old
        self._ignore_not_before = ignore_not_before
        self._sealing = Sealing(services)
        self._codec = codec_of(old.store().serializer)

    def import_all(self) -> Iterator[int]:
        """Import every live session; yield the number of sessions read since the last value.

        Can be stopped and run again at any time. Raises AllEnded and StoreUnavailable.
        """
        self.get_start()  # The table's response sets the clock, which sessions of a cache need.
        with ThreadPoolExecutor(THREADS, thread_name_prefix="import") as pool:
            for sessions in self._old.sessions():
                now = self.get_start()
                outcomes = list(pool.map(lambda old, now=now: self.import_at(old, now), sessions))
                self._settle(sessions, outcomes)
                yield len(sessions)

    def examine_all(self) -> Iterator[int]:
        """Read every live session; count as `import_all` does, as far as reading shows it."""
        for sessions in self._old.sessions():
            for old in sessions:
                payload = self._serialize(old)
                self.counts[payload if isinstance(payload, str) else "imported"] += 1
            yield len(sessions)

    def get_start(self) -> int:
        """Return the start time of sessions imported now. Raises AllEnded and TableUnavailable.

        The table is read after the clock: a cutoff that is set later ends these sessions.
        """
        now = int(self._services.clock())
        try:
            cutoffs = (
                self._services.config.not_before or 0,
                run_sync(self._services.not_before_items.get()),
            )
        except InvalidRecord as exc:
            raise TableUnavailable from exc
        ended = any(0 < moment <= not_before.latest(now) for moment in cutoffs)
        if ended and not self._ignore_not_before:
            raise AllEnded
        return now

    def import_at(self, old: OldSession, now: int) -> str:
        """Store one session unless it was imported before; return the outcome.

        Raises StoreUnavailable.
        """
        __traceback_hide__ = True
        payload = self._serialize(old)
        if isinstance(payload, str):
            return payload
        try:
            self._store(old, payload, now)
        except RecordExists:
            return "there already"
        except SessionTooLarge:
            return "too large"
        return "imported"

    def _serialize(self, old: OldSession) -> bytes | str:
        """Return the payload of the record, or the outcome if it cannot have one."""
        __traceback_hide__ = True
        if old.content is None or not SESSION_KEY.fullmatch(old.key):
            return "unreadable"
        try:
            return self._codec.dumps(old.content)
        except TypeError as exc:  # A cache also stores what is not JSON.
            fault = str(exc)
        logger.warning("Session %s... is not imported: %s", id_of(old.key)[:SHORT_ID], fault)
        return "not serializable"

    def _store(self, old: OldSession, payload: bytes, now: int) -> None:
        __traceback_hide__ = True
        content = old.content or {}
        timeout = self._services.config.absolute_timeout
        end = old.ends_at if timeout is None else min(old.ends_at, now + timeout)
        record = run_sync(self._sealing.seal(payload)).record(
            old.key,
            revision=1,
            created_at=now,
            ttl=end,
            user_id=content.get(USER_ID),
        )
        # A session that was sealed before and moved back has links by which it can be ended.
        run_sync(links.write(self._services, record, links.names_in(content)))
        if content.get(USER_ID) is not None:
            run_sync(
                about.SessionMetadata(self._services).write(record, about.read_labels(content))
            )
        run_sync(
            self._services.session_items.take_over(
                record,
                mark=new_mark(self._services, record.id, row_ends_at=old.ends_at),
                now=record.updated_at,
            )
        )
        if fault := links.fault_in(content.get(links.LINKS, [])):
            logger.warning(
                "Session %s...: the value under %r is not a list of link names and is ignored: %s",
                record.id[:SHORT_ID],
                links.LINKS,
                fault,
            )

    def _settle(self, sessions: list[OldSession], outcomes: list[str]) -> None:
        """End sessions that ended or changed their key in the old engine meanwhile."""
        alive = self._old.live_keys(sessions)
        for old, outcome in zip(sessions, outcomes, strict=True):
            gone = outcome == "imported" and old.key not in alive
            # A session that changed its key in this engine meanwhile stays.
            gone = gone and run_sync(self._services.session_items.end(id_of(old.key)))
            self.counts["ended meanwhile" if gone else outcome] += 1
