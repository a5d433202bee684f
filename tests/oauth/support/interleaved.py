"""The state of an interleaving between two steps, as plain data that can be compared.

And the invariants of access tokens: they take the items of a state and their decrypted content, and
yield violations. Deletions in the background are recorded when they are requested, and are applied
at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from oauth.clients.sealed_grant import SealedGrant, TokenResponse
from sessions_kms.aws.table_client import call_table
from sessions_kms.concurrency.waits import Wait, run_sync

NO_RESPONSE, UNKNOWN = FAULTS = ("no answer", "unknown")  # for a read, for a write

Items = dict[str, Any]
Deletion = tuple[tuple[str, ...], int | None]  # ids of items, and by when they must have ended


@dataclass(frozen=True)
class Send(Wait):
    """One call of the table, with all its attempts."""

    client: Any = field(repr=False)
    operation: str
    params: Mapping[str, Any] = field(repr=False)

    def block(self) -> Any:
        return run_sync(call_table(self.client, self.operation, **self.params))

    async def suspend(self) -> Any:
        raise NotImplementedError

    @classmethod
    async def steps(cls, client: Any, operation: str, **params: Any) -> Any:
        """Replace `call_table`, as one step."""
        return await cls(client, operation, params)


class Result(NamedTuple):
    """The result of a call, and its time; ``name`` identifies it among all results."""

    name: str
    outcome: Any
    error: BaseException | None
    tick: int


class Request(NamedTuple):
    """One request: its sender, its token, and the results of its calls so far."""

    who: str
    token: str = ""
    arrived: int = -1
    history: tuple[Result, ...] = ()
    is_delivered: bool = False

    def key(self) -> tuple[Any, ...]:
        """Return the data that its next step depends on."""
        told = [(each.name, each.tick) for each in self.history]
        return (self.who, self.token, self.arrived, *told)

    @property
    def begun(self) -> bool:
        return self.arrived >= 0

    @property
    def has_met_faults(self) -> bool:
        return any(each.name in FAULTS for each in self.history)

    @property
    def was_held_up(self) -> bool:
        """Whether a grace period passed during the request: its response may be gone by then."""
        return any(each.tick != self.arrived for each in self.history)


class Client(NamedTuple):
    """An honest client: its token, when it first sent that, and the request that it waits for."""

    token: str
    first: int | None = None
    awaits: int | None = None
    status: str = "new"


class State(NamedTuple):
    """The state between two steps. ``late`` are delayed writes, by request."""

    tick: int
    items: Items
    late: tuple[tuple[int, Send], ...]
    faults: int
    requests: tuple[Request, ...]
    clients: Mapping[str, Client]
    leaving: frozenset[Deletion] = frozenset()  # pending deletions
    ended_by: frozenset[int] = frozenset()  # requests that sent a deletion of the session
    ended_hastily: frozenset[int] = frozenset()  # the ones of them that must not have
    was_ended: bool = False

    def digest(self) -> bytes:
        """Identify the state: all that its next steps and its violations depend on."""
        parts = (
            self.tick,
            tuple(sorted((item_id, name_of(item)) for item_id, item in self.items.items())),
            tuple(sorted((by, repr(send.params)) for by, send in self.late)),
            self.faults,
            tuple((each.key(), each.is_delivered) for each in self.requests),
            tuple(sorted(self.clients.items())),
            sorted(self.leaving, key=repr),
            self.was_ended,
        )
        return blake2b(repr(parts).encode(), digest_size=16).digest()

    def holding(self, who: str, client: Client) -> State:
        """Return the state with an honest client's new data."""
        return self._replace(clients={**self.clients, who: client})


@dataclass(frozen=True)
class Next:
    """The next step of a request: a call, or its end with a result at a time.

    ``deletions`` are those that it has requested so far, in addition to its calls.
    """

    send: Send | None = None
    result: Any = None
    at: float = 0
    deletions: tuple[Deletion, ...] = ()


# The steps to a state: those to the one before it, and the label of the last. Most are shared.
Way = tuple[()] | tuple["Way", str]


def labels_of(way: Way) -> list[str]:
    labels = []
    while way:
        way, label = way
        labels.append(label)
    return labels[::-1]


@dataclass
class Explored:
    """The result: the shortest path to each violation."""

    states: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)
    results: set[tuple[str, str]] = field(default_factory=set)  # senders and their results


def name_of(found: Any) -> str:
    """Return a unique name of an item, or of a response that may contain one."""
    if not isinstance(found, dict):
        return repr(found)
    item = found.get("Item", found)
    if "id" not in item:
        return repr(sorted(item))
    # Random bytes are fixed in tests, so they do not identify it; the tag identifies the content.
    told = item.get("authTag") or item.get("spentAt") or item["version"]
    return repr((item["id"], told, item.get("salt"), item.get("stamp")))


# Access tokens: promised lifetimes, and items that are left over


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
    promises: Sequence[Promise], items: Items, now: float, named: Sequence[SealedGrant], most: int
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
