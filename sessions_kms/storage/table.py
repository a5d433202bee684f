"""The DynamoDB table: items of any type, each under its id.

Every read of an item is consistent; every write states its precondition, or that it has none. All
methods raise TableUnavailable if there is no usable response.
"""

from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from sessions_kms.aws.errors import ConditionFailed, TransactionCanceled
from sessions_kms.aws.table_client import TableClient, call_table, connection_of
from sessions_kms.concurrency.waits import Pause, Wait
from sessions_kms.exceptions import FateUnknown, TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.storage.suspect_responses import Confirm, ConfirmationLimit, StrayResponses
from sessions_kms.storage.writes import (
    ABSENT,
    REPEATS_MAX,
    Acknowledgement,
    Action,
    Answer,
    Condition,
    Delete,
    Put,
    Sender,
    equal,
    is_whole,
    returning_old,
    update_of,
)

T = TypeVar("T")

NOTHING_MORE: Final[Item] = {}  # only the id of the item is known


class Trace(NamedTuple):
    """The evidence by which a write to one item is known to be applied.

    ``required`` are attributes that the item must have had before, by the condition; ``expected``
    those that it had as far as is known, {} where its id alone is evidence, None where it is
    not: it was written recently. ``is_as_written`` says whether the item is as the write leaves it.
    """

    item_id: str
    required: Item | None
    expected: Item | None
    is_as_written: Callable[[Item | None], bool]


class Table:
    """One table. ``pause`` makes the wait between two attempts.

    A connection may give the response to another request. So a missing item is read once more on
    another connection, and so is one that was written, unless the response has the old item. With
    boto one response counts: the connection cannot be chosen.
    """

    def __init__(
        self,
        client: TableClient,
        *,
        name: str,
        pause: Callable[[float], Wait] = Pause,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self.strays = StrayResponses(steady)
        self._sender = Sender(client, name=name, pause=pause)
        self._limit = ConfirmationLimit(steady)

    async def get(
        self, item_id: str, *, only: Sequence[str] = (), confirm: Confirm = Confirm.ALWAYS
    ) -> Item | None:
        """Return an item as it is stored, or only some of its attributes.

        ``confirm`` says when a missing item is read once more.
        """
        sender, params = self._sender, _get_params(item_id, only)
        response = await call_table(sender.client, "get_item", TableName=sender.name, **params)
        item = _item_in(response, item_id)
        if item is None and confirm is not Confirm.NEVER:
            return await self._confirm_missing(item_id, params, response, confirm)
        return item

    async def _confirm_missing(
        self, item_id: str, params: dict[str, Any], first: Answer, confirm: Confirm
    ) -> Item | None:
        """Read an item again on another connection; with boto the first response counts."""
        connection = connection_of(first)
        if connection is None:
            return None
        if confirm is Confirm.LIMITED and not self._limit.allows(item_id):
            return None
        second = await self.read("get_item", params, exclude=(connection,))
        item = _item_in(second, item_id)
        if item is not None:
            self.strays.add(connection, connection_of(second))
        elif confirm is Confirm.LIMITED:
            self._limit.confirmed(item_id)
        return item

    async def put(self, item: Item, *, when: Condition | None = None, sure: bool = True) -> None:
        """Put an item. Raises ConditionFailed.

        It is sent again when its response is lost or suspect, and may then find its own item.
        Without ``sure``, DynamoDB's response counts.
        """

        def is_as_written(found: Item | None) -> bool:
            return found is not None if when is None else found == item

        required = when.expected if when else None
        trace = Trace(item["id"]["S"], required, required if when else {}, is_as_written)
        params = Put(item, when).params()
        await self._sender.repeated("put_item", partial(self._is_applied, trace, sure), **params)

    async def put_once(self, item: Item, *, when: Condition | None = None) -> Acknowledgement:
        """Put an item with a single request. Raises ConditionFailed, or FateUnknown.

        The write may still be applied if its response is lost or lacks the item that it replaces.
        ConditionFailed has the stored item, from engines that return it.
        """
        params = Put(item, when).params() | returning_old(when)
        acknowledgement = await self._sender.written("put_item", **params)
        if self._is_stray(acknowledgement, item["id"]["S"], when.expected if when else None):
            raise FateUnknown
        return acknowledgement

    async def put_stamped(self, item: Item, *, expected: bytes | None) -> bool:
        """Put an item with a new `stamp` in place of the one with the expected stamp, or of none.

        Return False if another item is stored. Sent twice it is applied once: the stamp changes.
        """
        when = ABSENT if expected is None else equal("stamp", {"B": expected})
        known, is_as_written = when.expected, partial(has, {"stamp": item["stamp"]})
        trace = Trace(item["id"]["S"], known, known, is_as_written)
        was_sent = False
        for _ in range(REPEATS_MAX):
            try:
                acknowledgement = await self._sender.written("put_item", **Put(item, when).params())
                if await self._is_applied(trace, True, acknowledgement):
                    return True
            except ConditionFailed:
                return await self._is_stamped(item, is_sure=not was_sent)
            except FateUnknown:
                pass
            was_sent = True
        raise TableUnavailable

    async def _is_stamped(self, item: Item, *, is_sure: bool) -> bool:
        """Return True if this item is stored; if it was sent before, a newer one may replace it."""
        current = await self.get(item["id"]["S"])
        if has({"stamp": item["stamp"]}, current):
            return True
        if is_sure:
            return False
        raise TableUnavailable

    async def update(self, item_id: str, changes: Item, *, when: Condition) -> bool:
        """Set attributes of an item; return False if the condition does not hold.

        The write is sent again when its response is lost or suspect, so the condition may also fail
        because the first attempt was applied.
        """
        trace = Trace(item_id, when.expected, when.expected, partial(has, changes))
        params = update_of(item_id, changes, when)
        return await try_write(
            self._sender.repeated("update_item", partial(self._is_applied, trace, True), **params)
        )

    async def delete(
        self, item_id: str, *, when: Condition | None = None, expected: Item | None = NOTHING_MORE
    ) -> bool:
        """Delete the item of an id, if there is one; return False if the condition does not hold.

        The write is sent again when its response is lost or suspect, so the condition may also fail
        because the first attempt was applied. ``expected`` is what is known of the stored item
        (see `Trace`).
        """
        return await try_write(self.delete_or_raise(item_id, when=when, expected=expected))

    async def delete_or_raise(
        self, item_id: str, *, when: Condition | None = None, expected: Item | None = NOTHING_MORE
    ) -> Item | None:
        """Delete as `delete` does, but raise ConditionFailed.

        The error has the stored item, from engines that return it. Returns the deleted item; None
        if the last response had none.
        """
        trace = Trace(item_id, None, expected, lambda found: found is None)
        params = Delete(item_id, when).params() | returning_old(when)
        is_applied = partial(self._is_applied, trace, True)
        return (await self._sender.repeated("delete_item", is_applied, **params)).old

    async def _is_applied(self, trace: Trace, sure: bool, acknowledgement: Acknowledgement) -> bool:
        """Return True if an acknowledged write is applied: by its evidence, or by a read."""
        if self._is_stray(acknowledgement, trace.item_id, trace.required):
            return False
        if not sure or acknowledgement.is_enough(trace.expected):
            return True
        return await self.is_as_written(trace.item_id, trace.is_as_written, acknowledgement)

    def _is_stray(
        self, acknowledgement: Acknowledgement, item_id: str, required: Item | None
    ) -> bool:
        """Return True if this is another write's response, and report its connection as suspect."""
        if acknowledgement.is_of(item_id, required):
            return False
        self.strays.add(acknowledgement.connection)
        return True

    async def is_as_written(
        self,
        item_id: str,
        is_as_written: Callable[[Item | None], bool],
        acknowledgement: Acknowledgement,
    ) -> bool:
        """Return True if an item is as an acknowledged write leaves it.

        The item is read on a connection other than that of the response, which counts with boto.
        """
        if acknowledgement.connection is None and acknowledgement.old is None:
            return True
        exclude = (acknowledgement.connection,)
        params = _get_params(item_id)
        response = await self.read("get_item", params, exclude=exclude)
        if is_as_written(_item_in(response, item_id)):
            return True
        self.strays.add(acknowledgement.connection, connection_of(response))
        return False

    async def require_as_written(
        self,
        item_id: str,
        is_as_written: Callable[[Item | None], bool],
        acknowledgement: Acknowledgement,
    ) -> None:
        """Raise FateUnknown unless `is_as_written`, also if the item cannot be read now."""
        try:
            is_applied = await self.is_as_written(item_id, is_as_written, acknowledgement)
        except TableUnavailable:
            is_applied = False  # The caller that settles the write reads again.
        if not is_applied:
            raise FateUnknown

    async def transact(self, *actions: Action) -> Acknowledgement:
        """Put and delete in one transaction. The response of DynamoDB is no evidence.

        Raises TransactionCanceled if a condition does not hold, or FateUnknown: the transaction
        is not sent again when its response is lost.
        """
        return await self._sender.transacted([self._member(each) for each in actions])

    def _member(self, action: Action) -> dict[str, Any]:
        return {type(action).__name__: {"TableName": self._sender.name} | action.params()}

    async def read(
        self,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        exclude: Container[object] = (),
    ) -> Answer:
        """Return the response to a read, on a connection other than ``exclude``."""
        sender = self._sender
        return await call_table(
            sender.client, operation, exclude=exclude, TableName=sender.name, **(params or {})
        )


async def try_write(write: Coroutine[Any, Any, object]) -> bool:
    """Write; return False if a condition does not hold."""
    try:
        await write
    except (ConditionFailed, TransactionCanceled):
        return False
    return True


def _get_params(item_id: str, only: Sequence[str] = ()) -> dict[str, Any]:
    params = {
        "Key": {"id": {"S": item_id}},
        "ConsistentRead": True,
        "ReturnConsumedCapacity": "TOTAL",
    }
    return params | project(only) if only else params


def _item_in(response: Answer, item_id: str) -> Item | None:
    """Return the requested item. Raises TableUnavailable if the response is unusable."""
    item: Any = response.get("Item")
    if item is None:
        # boto parses a body cut short to an empty response: only one that is whole is a miss.
        if not is_whole(response):
            raise TableUnavailable
        return None
    if not isinstance(item, dict) or item.get("id") != {"S": item_id}:
        raise TableUnavailable("The table answered with another item than was asked for.")
    return item


def has(attributes: Item, found: Item | None) -> bool:
    """Return True if an item was found that has these attributes."""
    return found is not None and attributes.items() <= found.items()


def project(names: Sequence[str]) -> dict[str, Any]:
    """Request only these attributes, or all if none is named."""
    if not names:
        return {}
    return {
        "ProjectionExpression": ", ".join(f"#{name}" for name in names),
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
    }
