"""`SESSION_ENGINE` for the way back to a database engine: reads both, writes rows again.

Sealed sessions open only with their visitors' cookies, so they cannot be moved all at
once: each goes back when its visitor comes.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db

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
        return self._taken_back(key)

    async def aload(self) -> dict[str, Any]:
        """Return what is stored. Raises StoreUnavailable."""
        return await sync_to_async(self.load)()

    def _taken_back(self, key: str) -> dict[str, Any]:
        __traceback_hide__ = True
        ours = backend.SessionStore(key)
        content = dict(ours.items())
        if ours.session_key is None:
            return {}
        self._session_key = key
        self._session_cache = content
        self.save(must_create=True)
        ours.delete()
        return content


class SessionStore(MovingOut):
    """Sessions in `django_session`."""
