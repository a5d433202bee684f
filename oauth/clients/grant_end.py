"""Ends grants: deletes the session and the tokens' items, and may revoke them at the provider.

If only the id of the session is known (from an old token, or a list), the grant cannot be
decrypted, so it is not revoked at the provider. The items that a token names are deleted after the
session. The items of a grant that was ended in a list remain, but are useless.

Items are deleted in background threads with a bounded queue, separate from those that revoke
grants, so that neither delays the other. Items that are not deleted here give access to nothing,
and remain until `clearsessions` or DynamoDB deletes them.
"""

import atexit
import logging
import os
from collections.abc import Callable, Iterable

from oauth.metrics import count_grant
from oauth.network.concurrency import EXIT_TIMEOUT, Background
from oauth.signals import grant_ended
from oauth.tokens import vault
from oauth.tokens.remaining_access import RemainingAccess
from oauth.tokens.revocation import revoke_soon
from sessions_kms import SHORT_ID, GrantStore, StoreUnavailable, id_of
from sessions_kms.concurrency.waits import BlockingCall, run_sync
from sessions_kms.grant_store import end_grant_by_id
from sessions_kms.sealed_items.tokens import Tokens
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

DELETION_THREADS = 2

REVOKED = "revoked"  # by the client, or because the provider no longer accepts its tokens
REUSED = "reused"  # a spent code or token was presented again
ENDED = "ended"  # by the person, in a list
TOO_MANY = "too_many"  # the person had too many grants


def delete_items_soon(
    services: Services, item_ids: Iterable[str], *, ended_by: int | None = None
) -> None:
    """Delete items in the background; with ``ended_by``, only those that expired by that time."""
    if ids := list(dict.fromkeys(item_ids)):
        _background.submit(lambda: _delete_items(services, ids, ended_by))


def expired_item_remover(services: Services) -> Callable[[str, int], None]:
    """Return the callback with which `Tokens` deletes the expired item of a presented token."""

    def remove(item_id: str, ended_by: int) -> None:
        delete_items_soon(services, [item_id], ended_by=ended_by)

    return remove


def drain_deletions(seconds: float = EXIT_TIMEOUT) -> bool:
    """Wait until all items are deleted; return False after so many ``seconds``."""
    return _background.drain(seconds)


def _delete_items(services: Services, item_ids: list[str], ended_by: int | None) -> None:
    tokens = Tokens(services)
    for each in item_ids:
        try:
            run_sync(tokens.remove(each, ended_by=ended_by))
        except StoreUnavailable:
            return  # The others would time out as well, and delay the queue.


def _replace_background() -> None:
    global _background  # noqa: PLW0603 - a forked child has none of the threads
    _background = Background(DELETION_THREADS)


_background = Background(DELETION_THREADS)
os.register_at_fork(after_in_child=_replace_background)
atexit.register(drain_deletions)


class GrantRevoker:
    """Ends grants. Every method raises StoreUnavailable unless the session is certainly deleted.

    ``items`` are the ids of the items to delete with the grant.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def end_by_key(self, key: str, reason: str, items: Iterable[str]) -> None:
        """End the grant whose session has this key."""
        __traceback_hide__ = True
        grant = GrantStore(key)
        if await grant.load_grant():
            await self.end(grant, reason, items)
        else:  # It has ended, or cannot be decrypted.
            await end_grant_by_id(self._services, id_of(key))
            delete_items_soon(self._services, items)

    async def end(self, grant: GrantStore, reason: str, items: Iterable[str]) -> None:
        """End a loaded grant."""
        __traceback_hide__ = True
        token_sets = {
            name: vault.load_token_set(grant, name) for name in vault.stored_providers(grant)
        }
        session_id = id_of(grant.session_key or "")
        remaining = RemainingAccess.beside(self._services, grant)
        await grant.end_grant()
        delete_items_soon(self._services, items)
        await BlockingCall(announce_end, (session_id, reason))
        for provider, token_set in token_sets.items():
            if token_set is not None:
                revoke_soon(self._services, provider, token_set, remaining)

    async def end_by_id(self, session_id: str, reason: str, items: Iterable[str]) -> None:
        """End the grant whose session has this id."""
        await end_grant_by_id(self._services, session_id)
        delete_items_soon(self._services, items)
        await BlockingCall(announce_end, (session_id, reason))


def announce_end(session_id: str, reason: str) -> None:
    """Send the signal `grant_ended`, and log the reuse of a token."""
    session = session_id[:SHORT_ID]
    count_grant(reason)
    if reason == REUSED:
        logger.warning(
            "A spent code or token of the grant %s... was presented again: the grant has ended.",
            session,
        )
    grant_ended.send_robust(sender=None, session=session, reason=reason)
