"""Writes of the table: their conditions, how they are sent, and what acknowledges them.

A write is sent again only from here, where its condition is known. One that was certainly not
applied is sent again after a short pause, and so is one whose response was lost if applying it
twice does no harm; any other raises FateUnknown, and the caller decides.

A response may be that to another request. One to a delete, or to a put that replaces, has the old
item, with its id and the salt or stamp that the request named: no response to another request has
that. A new item and a transaction come without evidence.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html (ReturnValues)
"""

import random
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from sessions_kms.aws.errors import TransactionCanceled
from sessions_kms.aws.table_client import TableClient, call_table, connection_of
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Pause, Wait
from sessions_kms.exceptions import FateUnknown, NotApplied, TableUnavailable
from sessions_kms.format.attributes import Item, as_number

if TYPE_CHECKING:
    from sessions_kms.aws.http_client.connections import Connection

_NAME = re.compile(r"#(\w+)")
REPEATS_MAX = 3  # requests of a write whose responses are lost
PAUSES = (
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.5,
)  # maximum seconds before a rejected write is sent again
LAST_START = 2.0  # seconds after the first request of a write; a rejection after that is final
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The response to a write. ``old`` is the item that was there before, if the response has one.

    ``connection`` is the one that the response came on; None with boto.
    """

    old: Item | None
    connection: "Connection | None"

    @classmethod
    def of(cls, response: dict[str, Any]) -> "Acknowledgement":
        """Return the acknowledgement in a response."""
        return cls(response.get("Attributes"), connection_of(response))

    def is_of(self, item_id: str, required: Item | None) -> bool:
        """Return True if this may be the response to a write to an item.

        ``required`` are the attributes that the condition of the write requires of the old item.
        """
        if self.old is None:
            return not required
        had = {"id": {"S": item_id}, **(required or {})}
        return had.items() <= self.old.items()

    def is_enough(self, expected: Item | None) -> bool:
        """Return True if the write counts without reading the item again.

        It does if the response has the expected old item. If there was none, or the old item is not
        known, it does with boto only. ``expected`` is that of a `Trace`.
        """
        if self.old is None or expected is None:
            return self.connection is None
        return expected.items() <= self.old.items()


class Condition:
    """What must hold of the stored item, or of its absence, for a write to take effect.

    ``expression`` is DynamoDB's, each attribute written `#name`; ``values`` are those of its
    `:value`s, in the attribute form. ``expected`` has attributes that the stored item has
    then, which change with each write: by them a response shows the old state.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
    """

    __slots__ = ("expected", "expression", "values")

    def __init__(
        self, expression: str, values: Item | None = None, *, expected: Item | None = None
    ) -> None:
        self.expression = expression
        self.values: Item = values or {}
        self.expected = expected

    def params(self) -> dict[str, Any]:
        """Return the request parameters."""
        return {
            "ConditionExpression": self.expression,
            "ExpressionAttributeNames": dict(_names_in(self.expression)),
            **({"ExpressionAttributeValues": self.values} if self.values else {}),
        }


ABSENT: Final = Condition("attribute_not_exists(#id)")


def equal(name: str, value: dict[str, Any]) -> Condition:
    """Return the condition that an attribute has a value."""
    return Condition(f"#{name} = :old", {":old": value}, expected={name: value})


def ended_until(moment: int) -> Condition:
    """Return the condition that an item ended by a time, in epoch seconds."""
    return Condition("#ttl <= :until", {":until": as_number(moment)})


class Put:
    """An item to put, with a condition or unconditionally."""

    __slots__ = ("item", "when")

    def __init__(self, item: Item, when: Condition | None = None) -> None:
        self.item = item
        self.when = when

    def params(self) -> dict[str, Any]:
        """Return the request parameters."""
        return {"Item": self.item} | _condition_params(self.when)


class Delete(NamedTuple):
    """The id of an item to delete, with a condition or unconditionally."""

    id: str
    when: Condition | None = None

    def params(self) -> dict[str, Any]:
        """Return the request parameters."""
        return {"Key": key_of(self.id)} | _condition_params(self.when)


Action: TypeAlias = Put | Delete


def update_of(item_id: str, changes: Item, when: Condition) -> dict[str, Any]:
    """Return the request parameters that set these attributes of an item."""
    expression = "SET " + ", ".join(f"#{name} = :new_{name}" for name in changes)
    new = {f":new_{name}": value for name, value in changes.items()}
    return {
        "Key": key_of(item_id),
        "UpdateExpression": expression,
        "ConditionExpression": when.expression,
        "ExpressionAttributeNames": names_in(f"{expression} {when.expression}"),
        "ExpressionAttributeValues": when.values | new,
    }


def _condition_params(when: Condition | None) -> dict[str, Any]:
    """Return the request parameters of a condition, if there is one."""
    return {} if when is None else when.params()


def returning_old(when: Condition | None) -> dict[str, str]:
    """Request the stored item in case the condition fails."""
    return {} if when is None else {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


def key_of(item_id: str) -> Item:
    """Return the primary key of an item."""
    return {"id": {"S": item_id}}


@lru_cache(maxsize=64)  # There are about twenty expressions.
def _names_in(expression: str) -> Mapping[str, str]:
    return {f"#{name}": name for name in _NAME.findall(expression)}


def names_in(expression: str) -> dict[str, str]:
    """Return the attribute names for the placeholders of an expression."""
    return dict(_names_in(expression))


class Sender:
    """The requests of one table. They raise TableUnavailable if there is no usable response.

    ``pause`` makes the wait between two of them.
    """

    def __init__(
        self, client: TableClient, *, name: str, pause: Callable[[float], Wait] = Pause
    ) -> None:
        self.client = client
        self.name = name
        self._pause = pause

    async def repeated(
        self,
        operation: str,
        is_applied: Callable[[Acknowledgement], Coroutine[Any, Any, bool]],
        **params: Any,
    ) -> Acknowledgement:
        """Send a write that may be applied twice, or late, until it is known to be applied.

        ``is_applied`` decides that by the acknowledgement, and the last one is returned. Raises
        ConditionFailed.
        """
        with deadline.call(deadline.HASTY.call, TableUnavailable):
            for _ in range(REPEATS_MAX):
                try:
                    acknowledgement = await self.written(operation, **params)
                except FateUnknown:
                    continue
                if await is_applied(acknowledgement):
                    return acknowledgement
        raise TableUnavailable

    async def written(self, operation: str, **params: Any) -> Acknowledgement:
        """Send a write that returns the old item; repeat it while it is certainly not applied.

        Raises ConditionFailed, or FateUnknown.
        """
        return await self._acknowledged(
            operation, {"TableName": self.name, **params, "ReturnValues": "ALL_OLD"}
        )

    async def transacted(self, actions: list[dict[str, Any]]) -> Acknowledgement:
        """Send a transaction, as `written` does.

        Raises TransactionCanceled because of a condition, or FateUnknown.
        """
        return await self._acknowledged("transact_write_items", {"TransactItems": actions})

    async def _acknowledged(self, operation: str, params: dict[str, Any]) -> Acknowledgement:
        # Differs from what reads request: a response to one is not mistaken for the other's.
        params["ReturnConsumedCapacity"] = "INDEXES"
        began = time.monotonic()
        with deadline.call(deadline.HASTY.call, TableUnavailable):
            for longest in PAUSES:
                try:
                    return await self._once(operation, params)
                except NotApplied:
                    pause = random.uniform(0, longest)  # noqa: S311 - only spreads
                    if time.monotonic() - began > LAST_START or not deadline.has_time_for(pause):
                        raise
                    await self._pause(pause)
                    if not deadline.has_time_for(
                        0
                    ):  # It took longer: the machine was busy or suspended.
                        raise
            return await self._once(operation, params)

    async def _once(self, operation: str, params: Mapping[str, Any]) -> Acknowledgement:
        try:
            response = await call_table(self.client, operation, **params)
        except TransactionCanceled as exc:
            if "ConditionalCheckFailed" in exc.reasons:
                raise
            raise NotApplied from exc  # Another transaction on these items runs, for milliseconds.
        # boto parses a body cut short to an empty response.
        if not is_whole(response):
            raise FateUnknown
        return Acknowledgement.of(response)


def is_whole(response: Mapping[str, Any]) -> bool:
    """Return True if a response arrived in full: it has the last requested member."""
    return "ConsumedCapacity" in response
