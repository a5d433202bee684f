"""Invariants of access tokens in any order of events: promised lifetimes, and leftover items.

Takes the items of a state and their decrypted content, yields violations. Deletions in the
background are recorded by an `Interleaving` when they are requested, and are applied at any time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from oauth.clients.sealed_grant import SealedGrant, TokenResponse
from tests.oauth.support.interleaved import Items

Deletion = tuple[tuple[str, ...], int | None]  # ids of items, and by when they must have ended


class Promise(NamedTuple):
    """The item of an access token, and the end of its lifetime according to the response."""

    item_id: str
    until: float


def promise_of(issued: TokenResponse, at: float, id_of: Callable[[str], str]) -> Promise:
    """Return the promise of a response that was given at a time.

    A token that has ended by then has a lifetime of one second: some clients read 0 as unlimited.
    """
    left = issued.expires_in if issued.expires_in > 1 else 0
    return Promise(id_of(issued.access_token), at + left)


def after_deletion(items: Items, deletion: Deletion) -> Items:
    """Return the items of a table after a deletion."""
    ids, ended_by = deletion
    return {
        item_id: item
        for item_id, item in items.items()
        if item_id not in ids or (ended_by is not None and int(item["ttl"]["N"]) > ended_by)
    }


def broken_promises(
    promises: Sequence[Promise],
    items: Items,
    now: float,
    named: Sequence[SealedGrant],
    most: int,
) -> Iterator[str]:
    """Yield a violation if a promised access token of a live grant does not work.

    ``named`` are the contents of live refresh tokens: if one names the maximum number of access
    tokens, all others exceeded the limit.
    """
    full = any(len(each.access_tokens) == most for each in named)
    kept = {token.id for each in named for token in each.access_tokens}
    for item_id, until in promises:
        works = item_id in items and int(items[item_id]["ttl"]["N"]) > now
        if now < until and not works and not (full and item_id not in kept):
            yield "an access token ended earlier than its answer said"


def forgotten_tokens(
    access_tokens: Sequence[str],
    items: Items,
    now: float,
    named: Sequence[SealedGrant],
    leaving: frozenset[Deletion],
) -> Iterator[str]:
    """Yield a violation if an expired item of a live grant will never be deleted."""
    kept = {token.id for each in named for token in each.access_tokens}
    going = {item_id for ids, _ in leaving for item_id in ids}
    for item_id in access_tokens:
        is_over = item_id in items and int(items[item_id]["ttl"]["N"]) <= now
        if is_over and item_id not in kept | going:
            yield "an access token that is over will never be deleted"


def live_in(opened: Iterator[Any]) -> list[SealedGrant]:
    """Return the live ones of the contents of tokens."""
    return [each for each in opened if isinstance(each, SealedGrant) and each.key is not None]
