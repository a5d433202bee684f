"""The state of an interleaving between two steps, as plain data that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from sessions_kms.aws.table_client import call_table
from sessions_kms.concurrency.waits import Wait, run_sync

NO_RESPONSE, UNKNOWN = FAULTS = ("no answer", "unknown")  # for a read, for a write

Items = dict[str, Any]


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
    leaving: frozenset[tuple[tuple[str, ...], int | None]] = frozenset()  # pending deletions
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
    deletions: tuple[tuple[tuple[str, ...], int | None], ...] = ()


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
