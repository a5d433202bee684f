"""`SESSION_ENGINE` for the way back to a database engine: reads both, writes rows again.

Sealed sessions open only with their visitors' cookies, so they cannot be moved all at
once: each goes back when its visitor comes.
"""

from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import CreateError

from sessions_kms import backend


class MovingOut(db.SessionStore):
    """A database engine that takes back what it does not have. For another one than `db`:

    `class SessionStore(MovingOut, cached_db.SessionStore): pass`
    """

    def load(self) -> dict[str, Any]:
        """Return what is stored. Raises StoreUnavailable."""
        __traceback_hide__ = True
        key = self.session_key
        content: dict[str, Any] = super().load()
        if key is None or self.session_key is not None:
            return content
        self._take_back(key)
        self._session_key = key
        return super().load()  # It may be another request that took it back.

    async def aload(self) -> dict[str, Any]:
        """Return what is stored. Raises StoreUnavailable."""
        return await sync_to_async(self.load)()

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session, here and there."""
        __traceback_hide__ = True
        key = self.session_key if session_key is None else session_key
        super().delete(session_key)
        if key is not None:
            backend.SessionStore().delete(key)

    async def adelete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session, here and there."""
        await sync_to_async(self.delete)(session_key)

    def _take_back(self, key: str) -> None:
        """Make a row of a sealed session, unless there is none, or another request does so."""
        __traceback_hide__ = True
        ours = backend.SessionStore(key)
        content = dict(ours.items())
        if ours.session_key is None:
            return
        row = type(self)(key)
        row._session_cache = content  # type: ignore[attr-defined]  # missing in Django's stubs
        with suppress(CreateError):
            row.save(must_create=True)
        ours.delete()


class SessionStore(MovingOut):
    """Sessions in `django_session`."""
