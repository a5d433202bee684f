"""The world of an interleaving between two steps, as plain data: the same data, the same world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sessions_kms.aws.table_client import call_table
from sessions_kms.concurrency.waits import Wait, run_sync

NO_ANSWER, UNKNOWN = FAULTS = ("no answer", "unknown")  # of a read, of a write

Items = dict[str, Any]


@dataclass(frozen=True)
class Send(Wait):
    """One call of the table, with all its attempts, for its answer."""

    client: Any = field(repr=False)
    operation: str
    params: Mapping[str, Any] = field(repr=False)

    def block(self) -> Any:
        return run_sync(call_table(self.client, self.operation, **self.params))

    async def suspend(self) -> Any:
        raise NotImplementedError

    @classmethod
    async def steps(cls, client: Any, operation: str, **params: Any) -> Any:
        """Take the place of `call_table`, as one step."""
        return await cls(client, operation, params)


class Told(NamedTuple):
    """What a call was answered, and when; ``name`` tells it from every other answer."""

    name: str
    outcome: Any
    error: BaseException | None
    tick: int


class Request(NamedTuple):
    """One request: who makes it, with which token, and what it was told so far."""

    who: str
    token: str = ""
    arrived: int = -1
    history: tuple[Told, ...] = ()
    is_delivered: bool = False

    def key(self) -> tuple[Any, ...]:
        """Return what its next step depends on."""
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
        """Whether a grace passed while it was at work: its answer may be gone by then."""
        return any(each.tick != self.arrived for each in self.history)


class Client(NamedTuple):
    """An honest client: what it holds, when it first presented that, whose answer it awaits."""

    token: str
    first: int | None = None
    awaits: int | None = None
    status: str = "new"


class State(NamedTuple):
    """The world between two steps. ``late`` are writes on their way, by request."""

    tick: int
    items: Items
    late: tuple[tuple[int, Send], ...]
    faults: int
    requests: tuple[Request, ...]
    clients: Mapping[str, Client]
    leaving: frozenset[tuple[tuple[str, ...], int | None]] = frozenset()  # deletions on their way
    ended_by: frozenset[int] = frozenset()  # requests that sent an end of the session
    ended_hastily: frozenset[int] = frozenset()  # those of them that may not have
    was_ended: bool = False

    def key(self) -> tuple[Any, ...]:
        return (
            self.tick,
            tuple(sorted((item_id, name_of(item)) for item_id, item in self.items.items())),
            tuple(sorted((by, repr(send.params)) for by, send in self.late)),
            self.faults,
            tuple((each.key(), each.is_delivered) for each in self.requests),
            tuple(sorted(self.clients.items())),
            self.leaving,
            self.was_ended,
        )

    def holding(self, who: str, client: Client) -> State:
        """Return it with what an honest one holds now."""
        return self._replace(clients={**self.clients, who: client})


@dataclass(frozen=True)
class Next:
    """What a request does next: a call, or its end with a result at a moment.

    ``deletions`` are those that it has asked for so far, beside its calls.
    """

    send: Send | None = None
    result: Any = None
    at: float = 0
    deletions: tuple[tuple[tuple[str, ...], int | None], ...] = ()


@dataclass
class Explored:
    """What was found: the shortest way to each violation."""

    states: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)
    results: set[tuple[str, str]] = field(default_factory=set)  # who was told what


def name_of(found: Any) -> str:
    """Return what tells an item, or an answer that may have one, from all others."""
    if not isinstance(found, dict):
        return repr(found)
    item = found.get("Item", found)
    if "id" not in item:
        return repr(sorted(item))
    # Chance is given, so that its bytes alone tell nothing; the tag tells of all that is sealed.
    told = item.get("authTag") or item.get("spentAt") or item["version"]
    return repr((item["id"], told, item.get("salt"), item.get("stamp")))
