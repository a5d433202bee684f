"""The DynamoDB table: items of any kind, each under its id.

Every read is consistent, but those of the index; every write states its precondition, or that
it has none. All verbs raise TableUnavailable when the answer cannot be told. They are written
once, as steps (`TableSteps`); `Table` does each in the thread that calls it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sessions_kms.aws.client.asking import TableClient
from sessions_kms.aws.errors import ConditionFailed, TransactionCanceled
from sessions_kms.concurrency.steps import Pause, Steps, Wait, blocking
from sessions_kms.exceptions import FateUnknown, TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import HEAD_ATTRIBUTES
from sessions_kms.storage.condition import (
    ABSENT,
    Action,
    Condition,
    Delete,
    Put,
    equal,
    key_of,
    update_of,
)
from sessions_kms.storage.sending import REPEATS_MAX, Answer, Sender, is_whole

T = TypeVar("T")

OWNER_INDEX = "by-owner"
PAGE_ITEMS = 100
INDEX_PAGE_ITEMS = 1000


class Page(NamedTuple):
    """Items in DynamoDB's own order; ``next`` is where the following page starts, None at the end.

    It names the last item looked at, and stays good when that item is deleted.
    """

    items: list[Item]
    next: Item | None


class TableSteps:
    """The verbs of one table, as steps. ``pause`` makes the wait between two tries."""

    def __init__(
        self, client: TableClient, *, name: str, pause: Callable[[float], Wait] = Pause
    ) -> None:
        self._sender = Sender(client, name=name, pause=pause)

    def get(self, item_id: str, *, only: Sequence[str] = ()) -> Steps[Item | None]:
        """Return an item as it is stored; of some of its attributes only, where told."""
        return self.got(item_id, _as_it_is, only)

    def got(
        self, item_id: str, made: Callable[[Item], T], only: Sequence[str] = ()
    ) -> Steps[T | None]:
        """Return what is made of an item, None where there is none. Raises what making it does."""
        key = key_of(item_id)
        params = {"Key": key, "ConsistentRead": True, "ReturnConsumedCapacity": "TOTAL"}
        asked = {**params, **_projection(only)} if only else params
        answer = yield from self._sender.read("get_item", **asked)
        item = answer.get("Item")
        if item is None:
            # boto parses a body cut short to an empty answer: only one that is whole is a miss.
            if not is_whole(answer):
                raise TableUnavailable
            return None
        if not isinstance(item, dict) or item.get("id") != key["id"]:
            raise TableUnavailable("The table answered with another item than was asked for.")
        return made(item)

    def put(self, item: Item, *, when: Condition | None = None, once: bool = False) -> Steps[None]:
        """Put an item. Raises ConditionFailed.

        It is sent again when its answer is lost, and may then meet itself. With ``once`` it is
        not, and raises FateUnknown: it may be applied yet. Then what stands where the condition
        failed comes with that error, from engines that return it.
        """
        params: dict[str, Any] = {"Item": item}
        if when is not None:
            params |= when.params()
        if not once:
            return self._sender.repeated("put_item", **params)
        if when is not None:
            params["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return self._sender.written("put_item", **params)

    def put_stamped(self, item: Item, *, expected: bytes | None) -> Steps[bool]:
        """Put an item with a fresh `stamp` where one with the expected stamp is, or none.

        False when something else is there. Sent twice it is applied once: the stamp changes.
        """
        when = ABSENT if expected is None else equal("stamp", {"B": expected})
        was_sent = False
        for _ in range(REPEATS_MAX):
            try:
                yield from self._sender.written("put_item", **Put(item, when).params())
            except ConditionFailed:
                return (yield from self._is_stamped(item, is_sure=not was_sent))
            except FateUnknown:
                was_sent = True
            else:
                return True
        raise TableUnavailable

    def _is_stamped(self, item: Item, *, is_sure: bool) -> Steps[bool]:
        """Tell whether what stands is this; another may stand over it if it was sent before."""
        current = yield from self.get(item["id"]["S"])
        if (current or {}).get("stamp") == item["stamp"]:
            return True
        if is_sure:
            return False
        raise TableUnavailable

    def update(self, item_id: str, changes: Item, *, when: Condition) -> Steps[bool]:
        """Set attributes of an item; False where the condition does not hold, if only since it
        was done before: it is sent again when its answer is lost.
        """
        params = update_of(item_id, changes, when)
        return (yield from held(self._sender.repeated("update_item", **params)))

    def delete(self, item_id: str, *, when: Condition | None = None) -> Steps[bool]:
        """Delete the item of an id, if there is one; False where the condition does not hold, if
        only since it was done before: it is sent again when its answer is lost.
        """
        params = Delete(item_id, when).params()
        return (yield from held(self._sender.repeated("delete_item", **params)))

    def transact(self, *actions: Action) -> Steps[None]:
        """Put and delete, all of it or nothing.

        Raises TransactionCanceled where a condition does not hold, or FateUnknown: it is not
        sent again when its answer is lost.
        """
        return self._sender.transacted([self._member(each) for each in actions])

    def _member(self, action: Action) -> dict[str, Any]:
        return {type(action).__name__: {"TableName": self._sender.name} | action.params()}

    def scan(
        self,
        start: Item | None = None,
        *,
        limit: int = PAGE_ITEMS,
        consistent: bool = False,
        whole: bool = False,
    ) -> Steps[Page]:
        """Return the next items of the whole table, of all kinds and namespaces.

        Reads at most ``limit`` items, in one call; without their ciphertext, unless whole.
        """
        attributes = () if whole else HEAD_ATTRIBUTES
        params = {"Limit": limit, "ConsistentRead": consistent, **_projection(attributes)}
        return (yield from self._page("scan", start, params))

    def owned(
        self, owner: str, start: Item | None = None, *, limit: int = PAGE_ITEMS
    ) -> Steps[Page]:
        """Return the next keys under an owner in the index, newest first; the index lags behind.

        Each item has `id`, `owner` and `createdAt` only.
        """
        params = {
            "IndexName": OWNER_INDEX,
            "KeyConditionExpression": "#owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": {"S": owner}},
            "ScanIndexForward": False,
            "Limit": limit,
        }
        page = yield from self._page("query", start, params)
        if not all(_is_of(item, "owner", owner) for item in page.items):
            raise TableUnavailable("The index answered with another owner than was asked for.")
        return page

    def owned_ids(self, owner: str) -> Steps[list[str]]:
        """Return all ids under an owner in the index, newest first; the index lags behind."""
        page = yield from self.owned(owner, limit=INDEX_PAGE_ITEMS)
        ids = [item["id"]["S"] for item in page.items]
        while page.next is not None:
            page = yield from self.owned(owner, page.next, limit=INDEX_PAGE_ITEMS)
            ids += [item["id"]["S"] for item in page.items]
        return ids

    def _page(self, operation: str, start: Item | None, params: dict[str, Any]) -> Steps[Page]:
        if start is not None:
            params["ExclusiveStartKey"] = start
        answer = yield from self.read(operation, params)
        if not all(_is_text(item, "id") for item in answer.get("Items", [{}])):
            raise TableUnavailable
        return Page(answer["Items"], answer.get("LastEvaluatedKey"))

    def read(self, operation: str, params: Mapping[str, Any] | None = None) -> Steps[Answer]:
        """Return the answer to what asks about this table, or in it, and changes nothing."""
        return self._sender.read(operation, **(params or {}))


class Table:
    """The same verbs, each done in the thread that calls it."""

    def __init__(
        self, client: TableClient, *, name: str, pause: Callable[[float], Wait] = Pause
    ) -> None:
        self.steps = TableSteps(client, name=name, pause=pause)

    get = blocking(TableSteps.get)
    put = blocking(TableSteps.put)
    put_stamped = blocking(TableSteps.put_stamped)
    update = blocking(TableSteps.update)
    delete = blocking(TableSteps.delete)
    transact = blocking(TableSteps.transact)
    scan = blocking(TableSteps.scan)
    owned = blocking(TableSteps.owned)
    owned_ids = blocking(TableSteps.owned_ids)
    read = blocking(TableSteps.read)


def held(write: Steps[None]) -> Steps[bool]:
    """Write; tell whether its conditions held."""
    try:
        yield from write
    except (ConditionFailed, TransactionCanceled):
        return False
    return True


def _as_it_is(item: Item) -> Item:
    return item


def _projection(names: Sequence[str]) -> dict[str, Any]:
    """Ask for these attributes only; for all, where none is named."""
    if not names:
        return {}
    return {
        "ProjectionExpression": ", ".join(f"#{name}" for name in names),
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
    }


def _is_of(item: Any, name: str, value: str) -> bool:
    return isinstance(item, dict) and item.get(name) == {"S": value}


def _is_text(item: Any, name: str) -> bool:
    attribute = item.get(name) if isinstance(item, dict) else None
    return isinstance(attribute, dict) and isinstance(attribute.get("S"), str)
