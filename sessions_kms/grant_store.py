"""`GrantStore`: a session that is opened by tokens (`sealed_items.tokens`), not by a cookie.

It is an ordinary record under a key that never leaves the server. A mark in it ensures that a
grant's key is not accepted in a cookie, nor a cookie's key as a grant. It never changes its key, to
which its tokens refer, and has a separate absolute timeout (`GRANT_TIMEOUT`).
"""

from sessions_kms.backend import SessionStore
from sessions_kms.sealed_items.about import SessionMetadata
from sessions_kms.services import Services, services
from sessions_kms.session import links
from sessions_kms.session.repository import GRANT
from sessions_kms.signals import announce, session_ended


class GrantStore(SessionStore):
    """The session of a grant; its additional methods are coroutines."""

    async def start_grant(self) -> None:
        """Store it under a new key. Raises StoreUnavailable, or SessionTooLarge."""
        __traceback_hide__ = True
        self[GRANT] = 1
        await self._create()

    async def load_grant(self) -> bool:
        """Load it; return False if there is no such grant. Raises StoreUnavailable."""
        __traceback_hide__ = True
        await self._get_content()
        return self.session_key is not None

    async def save_grant(self) -> None:
        """Store its content. Raises UpdateError if it has ended, or StoreUnavailable."""
        __traceback_hide__ = True
        await self._save()

    async def end_grant(self) -> None:
        """End it. Raises StoreUnavailable if it may still exist."""
        __traceback_hide__ = True
        version = self._get_baseline(self.session_key or "")
        await self._delete()
        if version is not None:  # Clients may end many, and the index would still list them.
            await links.drop(self._services, version.id, version.links)

    def _is_extended_by_visit(self) -> bool:
        """Return False: only a refresh of its tokens extends a grant."""
        return False

    async def _cycle(self) -> None:
        """Store it under the same key.

        Django changes the key for security (for example when SECRET_KEY was rotated), but this key
        is known to no visitor.
        """
        __traceback_hide__ = True
        await self._save()

    @property
    def _services(self) -> Services:
        return services().of_grants


class BriefGrantStore(GrantStore):
    """The session of a new grant that lasts `BRIEF_GRANT_AGE`, and is never saved again.

    Afterwards it is a grant like any other, for `GrantStore`.
    """

    @property
    def _services(self) -> Services:
        return services().of_brief_grants


async def end_grant_by_id(made: Services, session_id: str) -> None:
    """End the session of an id, without its key or a token.

    Raises TableUnavailable if it may still exist.
    """
    if await made.session_items.end(session_id):
        await SessionMetadata(made).drop(session_id)
        announce(session_ended, session_id)
