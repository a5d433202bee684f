"""`GrantStore`: a session that tokens open (`sealed_items.tokens`), and no cookie.

An ordinary record under a key that never leaves the server. It is marked, so that its key in a
cookie is no session, and that of a cookie no grant; it keeps its key, which its tokens lead to;
and it has an absolute timeout of its own (`GRANT_TIMEOUT`).
"""

from sessions_kms.backend import SessionStore
from sessions_kms.sealed_items.about import SessionMetadata
from sessions_kms.services import Services, services
from sessions_kms.session.repository import GRANT
from sessions_kms.signals import announce, session_ended


class GrantStore(SessionStore):
    """The session of a grant; its own coroutines are for those that are coroutines, too."""

    async def start_grant(self) -> None:
        """Store it under a new key. Raises StoreUnavailable, or SessionTooLarge."""
        __traceback_hide__ = True
        self[GRANT] = 1
        await self._create()

    async def load_grant(self) -> bool:
        """Load it; tell whether there is such a grant. Raises StoreUnavailable."""
        __traceback_hide__ = True
        await self._get_content()
        return self.session_key is not None

    async def save_grant(self) -> None:
        """Store what it holds now. Raises UpdateError where it has ended, or StoreUnavailable."""
        __traceback_hide__ = True
        await self._save()

    async def end_grant(self) -> None:
        """End it. Raises StoreUnavailable where it may be there yet."""
        __traceback_hide__ = True
        await self._delete()

    async def _cycle(self) -> None:
        """Store it, as it is, under the key that it has.

        Django wants another key when it takes a session over to another SECRET_KEY, say; no
        visitor holds this one.
        """
        __traceback_hide__ = True
        await self._save()

    @property
    def _services(self) -> Services:
        return services().of_grants


async def end_grant_by_id(made: Services, session_id: str) -> None:
    """End the session of an id, of which neither token nor key is known.

    Raises TableUnavailable where it may be there yet.
    """
    if await made.session_items.end(session_id):
        await SessionMetadata(made).drop(session_id)
        announce(session_ended, session_id)
