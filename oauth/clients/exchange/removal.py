"""Deletes the items of tokens that are of no more use, beside the answer to a request.

Ids of items enter, nothing leaves. Nobody waits for it, in a thread or in an event loop: it has a
few threads of its own and a bounded queue, so that providers which hang when a grant is revoked do
not hold it up, nor it them. What is not deleted here opens nothing that is live and stays until
`clearsessions` or DynamoDB deletes it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable

from oauth.network.background import AT_EXIT, Background
from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.tokens import Tokens
from sessions_kms.services import Services

THREADS = 2


def remove_soon(
    services: Services, item_ids: Iterable[str], *, ended_by: int | None = None
) -> None:
    """Delete items soon; if told, only those that ended by then (epoch seconds)."""
    if ids := list(dict.fromkeys(item_ids)):
        _background.submit(lambda: _remove(services, ids, ended_by))


def of_expired(services: Services) -> Callable[[str, int], None]:
    """Return what deletes an item that is over, which a token was shown for (`Tokens`)."""

    def remove(item_id: str, ended_by: int) -> None:
        remove_soon(services, [item_id], ended_by=ended_by)

    return remove


def drain(seconds: float = AT_EXIT) -> bool:
    """Wait until nothing is left to delete, at most so long; False when something is."""
    return _background.drain(seconds)


def _remove(services: Services, item_ids: list[str], ended_by: int | None) -> None:
    tokens = Tokens(services)
    for each in item_ids:
        try:
            run_sync(tokens.remove(each, ended_by=ended_by))
        except StoreUnavailable:
            return  # The next one would wait as long: the queue has to get on.


def _start_afresh() -> None:
    global _background  # noqa: PLW0603 - a forked child has none of the threads
    _background = Background(THREADS)


_background = Background(THREADS)
os.register_at_fork(after_in_child=_start_afresh)
atexit.register(drain)
