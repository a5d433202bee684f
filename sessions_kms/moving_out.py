"""`SESSION_ENGINE` while moving back to a database engine: reads both, writes rows again.

Decrypting a session takes its visitor's cookie, so sessions cannot be moved all at once: each moves
back with its visitor's next request. `operations.session_import` says which one counts until then.
"""

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.db import router, transaction

from sessions_kms import backend
from sessions_kms.concurrency.threads import in_djangos_thread
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.concurrency.write_queue import BUSY
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.format.item_types import SESSION_KEY
from sessions_kms.format.serializer import codec_of
from sessions_kms.operations.old_engines import CHUNK
from sessions_kms.operations.session_import import is_marked, mark_id, new_mark
from sessions_kms.sealed_items.about import SessionMetadata
from sessions_kms.services import id_of, services
from sessions_kms.session import next_cookie
from sessions_kms.session.repository import LoadedVersion, SessionRepository


class MovingOut(db.SessionStore):
    """A database engine that moves sealed sessions back to rows. For an engine other than `db`:

    `class SessionStore(MovingOut, cached_db.SessionStore): pass`
    """

    def load(self) -> dict[str, Any]:
        """Return what is stored. Raises StoreUnavailable."""
        __traceback_hide__ = True
        key = self.session_key
        if key is None or not SESSION_KEY.fullmatch(key):
            return self._row()
        budget = services().write_queues.start_budget()
        while True:
            found = run_sync(SessionRepository(services(), codec_of(self.serializer)).load(key))
            if found is None:
                return self._row_unless_ended(key)
            sealed, content = found
            if sealed.session_key != key:  # The cookie's session had its key changed.
                key = self._session_key = sealed.session_key
                next_cookie.note_new_key(self)
            if self._move_back(sealed, content) and self._in_transaction():
                return (
                    self._row()
                )  # Until the commit it is invisible to others, and the sealed one remains.
            if budget.is_exhausted:
                raise StoreUnavailable(BUSY)
            run_sync(services().wait(budget.next_pause()))

    async def aload(self) -> dict[str, Any]:
        """Return what is stored. Raises StoreUnavailable."""
        return await in_djangos_thread(self.load)

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session, in both engines."""
        __traceback_hide__ = True
        key = self.session_key if session_key is None else session_key
        if key is None or not self._is_known(key):
            super().delete(session_key)
            return
        super().delete(key)

        def end() -> None:
            __traceback_hide__ = True
            self._end(key)

        self._on_commit(end)

    async def adelete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session, in both engines."""
        __traceback_hide__ = True
        await in_djangos_thread(self.delete, session_key)

    @classmethod
    def clear_expired(cls) -> None:
        """Delete expired rows, and update rows whose sessions are sealed.

        Raises StoreUnavailable.
        """
        for key in cls._keys():
            if is_marked(services(), id_of(key)):
                cls(key).load()
        super().clear_expired()

    @classmethod
    async def aclear_expired(cls) -> None:
        """Delete expired rows, and update rows whose sessions are sealed."""
        await in_djangos_thread(cls.clear_expired)

    @classmethod
    def _keys(cls) -> Iterator[str]:
        """Yield the keys of all rows, read in batches."""
        keys = (
            cls.get_model_class()
            .objects.order_by("session_key")
            .values_list("session_key", flat=True)
        )
        after = ""
        while found := list(keys.filter(session_key__gt=after)[:CHUNK]):
            yield from found
            after = found[-1]

    def _row(self) -> dict[str, Any]:
        __traceback_hide__ = True
        content: dict[str, Any] = super().load()
        return content

    def _row_unless_ended(self, key: str) -> dict[str, Any]:
        __traceback_hide__ = True
        if not is_marked(services(), id_of(key)):
            return self._row()
        super().delete(key)
        self._session_key = None
        return {}

    def _is_known(self, key: str) -> bool:
        """Return True if there is a session to end: otherwise any text would leave a mark."""
        __traceback_hide__ = True
        if not SESSION_KEY.fullmatch(key):
            return False
        return self.exists(key) or backend.SessionStore().exists(key)

    def _end(self, key: str) -> None:
        """End the sealed session, and a row that another request is about to write."""
        __traceback_hide__ = True
        backend.SessionStore().delete(key)
        row_ends_at = int(services().clock()) + self.get_session_cookie_age()
        run_sync(services().table.put(new_mark(services(), id_of(key), row_ends_at=row_ends_at)))

    def _move_back(self, sealed: LoadedVersion, content: dict[str, Any]) -> bool:
        """Move a sealed session to a row; return False if another request changed either."""
        __traceback_hide__ = True
        key, now = sealed.session_key, int(services().clock())
        session_id = id_of(key)
        stale = self._rows().filter(session_key=key).values_list("session_data", flat=True).first()
        row = type(self)(key)
        row._session_cache = content  # type: ignore[attr-defined]  # missing in Django's stubs
        is_safe = is_marked(services(), session_id) or self._mark(sealed, row, now)
        if not (is_safe and self._put(row, stale)):
            return False

        def delete_sealed() -> None:
            run_sync(
                services().session_items.give_back(
                    session_id, expected=sealed, mark_id=mark_id(services(), session_id), now=now
                )
            )
            if sealed.labels:
                run_sync(SessionMetadata(services()).drop(session_id))

        self._on_commit(delete_sealed)
        return True

    def _mark(self, sealed: LoadedVersion, row: db.SessionStore, now: int) -> bool:
        """Mark the sealed session; return False if it is gone or was changed."""
        __traceback_hide__ = True
        session_id = id_of(sealed.session_key)
        row_ends_at = int(row.get_expiry_date().timestamp())
        item = new_mark(services(), session_id, row_ends_at=row_ends_at)
        return run_sync(
            services().session_items.mark(session_id, expected=sealed, mark=item, now=now)
        )

    def _put(self, row: db.SessionStore, stale: str | None) -> bool:
        """Write the row, or replace the one that was read; return False if there is another."""
        __traceback_hide__ = True
        as_read = self._rows().filter(session_key=row.session_key, session_data=stale)
        try:
            with transaction.atomic(using=as_read.db):
                is_there = as_read.update(session_data=stale) > 0  # It is locked from now on.
                row.save(must_create=not is_there)
        except (CreateError, UpdateError):
            return False
        return True

    def _rows(self) -> Any:
        return self.model.objects.using(router.db_for_write(self.model))

    def _on_commit(self, work: Callable[[], None]) -> None:
        """Run it when the row is committed: at once, unless the view is one transaction."""
        transaction.on_commit(work, using=self._rows().db)

    def _in_transaction(self) -> bool:
        in_it: bool = transaction.get_connection(self._rows().db).in_atomic_block
        return in_it


class SessionStore(MovingOut):
    """Sessions in `django_session`."""
