"""Ends grants: deletes the session, then revokes at the provider, and deletes the items of the
tokens.

A grant known only by the id of its session (from an old token, or a list) ends here alone: what it
holds cannot be read. Items that a token names are deleted once the session is gone; those of a
grant that was ended in a list open nothing.

Items are deleted in the background, in threads of their own with a bounded queue, so that providers
that hang when a grant is revoked do not delay it, nor the other way round. What is not deleted here
opens nothing that is live, and stays until `clearsessions` or DynamoDB deletes it.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Iterable

from oauth.network.concurrency import EXIT_TIMEOUT, Background
from oauth.provider.revocation import revoke_soon
from oauth.signals import grant_ended
from oauth.tokens import vault
from sessions_kms import SHORT_ID, GrantStore, StoreUnavailable, id_of
from sessions_kms.concurrency.waits import BlockingCall, run_sync
from sessions_kms.grant_store import end_grant_by_id
from sessions_kms.sealed_items.tokens import Tokens
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

DELETION_THREADS = 2

REVOKED = "revoked"  # by the client, or since the provider gives nothing for it any more
REUSED = "reused"  # a code or token was presented again that was spent
ENDED = "ended"  # by its person, in a list
TOO_MANY = "too_many"  # its person allowed one more than there may be


def delete_items_soon(
    services: Services, item_ids: Iterable[str], *, ended_by: int | None = None
) -> None:
    """Delete items soon; if told, only those that ended by then (epoch seconds)."""
    if ids := list(dict.fromkeys(item_ids)):
        _background.submit(lambda: _delete_items(services, ids, ended_by))


def expired_item_remover(services: Services) -> Callable[[str, int], None]:
    """Return what deletes an item that is over, which a token was shown for (`Tokens`)."""

    def remove(item_id: str, ended_by: int) -> None:
        delete_items_soon(services, [item_id], ended_by=ended_by)

    return remove


def drain_deletions(seconds: float = EXIT_TIMEOUT) -> bool:
    """Wait until nothing is left to delete, at most so long; False when something is."""
    return _background.drain(seconds)


def _delete_items(services: Services, item_ids: list[str], ended_by: int | None) -> None:
    tokens = Tokens(services)
    for each in item_ids:
        try:
            run_sync(tokens.remove(each, ended_by=ended_by))
        except StoreUnavailable:
            return  # The next one would wait as long: the queue has to get on.


def _replace_background() -> None:
    global _background  # noqa: PLW0603 - a forked child has none of the threads
    _background = Background(DELETION_THREADS)


_background = Background(DELETION_THREADS)
os.register_at_fork(after_in_child=_replace_background)
atexit.register(drain_deletions)


class GrantRevoker:
    """Ends grants. Each verb raises StoreUnavailable unless the session is known to be gone.

    ``items`` are the ids of the items to delete with it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def end_by_key(self, key: str, reason: str, items: Iterable[str]) -> None:
        """End the grant whose session has this key."""
        __traceback_hide__ = True
        grant = GrantStore(key)
        if await grant.load_grant():
            await self.end(grant, reason, items)
        else:  # It has ended, or cannot be read.
            await end_grant_by_id(self._services, id_of(key))
            delete_items_soon(self._services, items)

    async def end(self, grant: GrantStore, reason: str, items: Iterable[str]) -> None:
        """End a grant that was loaded."""
        __traceback_hide__ = True
        token_sets = {
            name: vault.load_token_set(grant, name) for name in vault.stored_providers(grant)
        }
        session_id = id_of(grant.session_key or "")
        await grant.end_grant()
        delete_items_soon(self._services, items)
        await BlockingCall(announce_end, (session_id, reason))
        for provider, token_set in token_sets.items():
            if token_set is not None:
                revoke_soon(self._services, provider, token_set)

    async def end_by_id(self, session_id: str, reason: str, items: Iterable[str]) -> None:
        """End the grant whose session has this id."""
        await end_grant_by_id(self._services, session_id)
        delete_items_soon(self._services, items)
        await BlockingCall(announce_end, (session_id, reason))


def announce_end(session_id: str, reason: str) -> None:
    """Tell the log, and who keeps an audit trail."""
    session = session_id[:SHORT_ID]
    if reason == REUSED:
        logger.warning(
            "A spent code or token of the grant %s... was presented again: the grant has ended.",
            session,
        )
    grant_ended.send_robust(sender=None, session=session, reason=reason)
