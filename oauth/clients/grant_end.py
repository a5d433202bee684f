"""The end of a grant: its session goes, and then what it had of the provider is revoked there.

A grant that nothing leads to but the id of its session (an old token's, or in a list) ends here
alone: what it held cannot be read. The items that a token named are deleted once the session is
gone; others, of a grant that ended in a list, open nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from oauth.clients.exchange import removal
from oauth.provider.revocation import revoke_soon
from oauth.signals import grant_ended
from oauth.tokens import vault
from sessions_kms import SHORT_ID, GrantStore, id_of
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.grant_store import ending_of
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

REVOKED = "revoked"  # by the client, or since the provider gives nothing for it any more
REUSED = "reused"  # a code or token was presented again that was spent
ENDED = "ended"  # by its person, in a list
TOO_MANY = "too_many"  # its person allowed one more than there may be


class GrantEnd:
    """Ends grants. Each verb raises StoreUnavailable unless the session is known to be gone.

    ``items`` are the ids of the items to delete with it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def of_key(self, key: str, reason: str, items: Iterable[str]) -> None:
        """End the grant whose session has this key."""
        __traceback_hide__ = True
        grant = GrantStore(key)
        if await grant.loading():
            await self.of(grant, reason, items)
        else:  # It has ended, or cannot be read.
            await ending_of(self._services, id_of(key))
            removal.remove_soon(self._services, items)

    async def of(self, grant: GrantStore, reason: str, items: Iterable[str]) -> None:
        """End a grant that was loaded."""
        __traceback_hide__ = True
        held = {name: vault.load(grant, name) for name in vault.providers(grant)}
        session_id = id_of(grant.session_key or "")
        await grant.ending()
        removal.remove_soon(self._services, items)
        await BlockingCall(tell, (session_id, reason))
        for provider, token_set in held.items():
            if token_set is not None:
                revoke_soon(self._services, provider, token_set)

    async def of_id(self, session_id: str, reason: str, items: Iterable[str]) -> None:
        """End the grant whose session has this id."""
        await ending_of(self._services, session_id)
        removal.remove_soon(self._services, items)
        await BlockingCall(tell, (session_id, reason))


def tell(session_id: str, reason: str) -> None:
    """Tell the log, and who keeps an audit trail."""
    session = session_id[:SHORT_ID]
    if reason == REUSED:
        logger.warning(
            "A spent code or token of the grant %s... was presented again: the grant has ended.",
            session,
        )
    grant_ended.send_robust(sender=None, session=session, reason=reason)
