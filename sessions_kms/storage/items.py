"""The DynamoDB table as items of any kind: consistent reads, conditional writes, pages.

Takes and gives items in the low-level attribute form, under the ids that callers
choose. All methods raise TableUnavailable when the answer cannot be told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from sessions_kms.aws.errors import ConditionFailed
from sessions_kms.exceptions import FateUnknown, TableUnavailable
from sessions_kms.format.attributes import Item, as_binary, as_number
from sessions_kms.format.record import HEAD_ATTRIBUTES
from sessions_kms.storage.writing import REPEATS_MAX, TableCalls, is_whole

OWNER_INDEX = "by-owner"
PAGE_ITEMS = 100


@dataclass(frozen=True)
class Page:
    """Items in DynamoDB's own order; ``next`` is where the following page starts, None at the end.

    It names the last item looked at, and stays good when that item is deleted.
    """

    items: list[Item]
    next: Item | None


class ItemTable(TableCalls):
    """One table."""

    def get_item(self, item_id: str, *, only: Sequence[str] = ()) -> Item | None:
        """Return an item as it is stored; of some of its attributes only, where told."""
        answer = self._call(
            "get_item",
            TableName=self._name,
            Key=_key(item_id),
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
            **_projection(only),
        )
        item: Item | None = answer.get("Item")
        # boto parses a body cut short to an empty answer: only one that is whole is a miss.
        if item is None and not is_whole(answer):
            raise TableUnavailable
        if item is not None and not _is_of(item, "id", item_id):
            raise TableUnavailable("The table answered with another item than was asked for.")
        return item

    def put_item(self, item: Item) -> None:
        """Put an item, whatever stands under its id."""
        self._repeated("put_item", TableName=self._name, Item=item)

    def put_stamped(self, item: Item, *, expected: bytes | None) -> bool:
        """Put an item with a fresh `stamp` where one with the expected stamp is, or none.

        False when something else is there. Sent twice it is applied once: the stamp changes.
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if expected is not None:
            condition = {
                "ConditionExpression": "stamp = :expected",
                "ExpressionAttributeValues": {":expected": {"B": expected}},
            }
        was_sent = False
        for _ in range(REPEATS_MAX):
            try:
                self._write("put_item", TableName=self._name, Item=item, **condition)
            except ConditionFailed:
                return self._is_stamped(item, is_sure=not was_sent)
            except FateUnknown:
                was_sent = True
            else:
                return True
        raise TableUnavailable

    def _is_stamped(self, item: Item, *, is_sure: bool) -> bool:
        """Tell whether what stands is this; another may stand over it if it was sent before."""
        current = self.get_item(item["id"]["S"])
        if (current or {}).get("stamp") == item["stamp"]:
            return True
        if is_sure:
            return False
        raise TableUnavailable

    def delete(self, item_id: str) -> None:
        """Delete the item of this id, if there is one."""
        self._repeated("delete_item", TableName=self._name, Key=_key(item_id))

    def end(self, session_id: str) -> bool:
        """Delete a session's record; False where its tombstone is, which stays."""
        # As `is_tombstone` tells it.
        condition = (
            "attribute_not_exists(movedAt) OR attribute_exists(encryptedData)"
            " OR attribute_exists(authTag)"
        )
        return self._delete_if(session_id, condition)

    def delete_created(self, item_id: str, *, until: int) -> bool:
        """Delete what was created until a moment; False when nothing of that kind is there."""
        return self._delete_if(item_id, "createdAt <= :until", {":until": as_number(until)})

    def delete_expired(self, item_id: str, *, until: int) -> bool:
        """Delete what ended until a moment; False when nothing of that kind is there."""
        values = {":until": as_number(until)}
        return self._delete_if(item_id, "#ttl <= :until", values, names={"#ttl": "ttl"})

    def delete_sealed(self, item_id: str, *, period: int, but: bytes | None) -> bool:
        """Delete what was sealed in a period, but under this data key; False when nothing is."""
        condition, values = "keyPeriod = :period", {":period": as_number(period)}
        if but is not None:
            condition += " AND encryptedKey <> :but"
            values[":but"] = as_binary(but)
        return self._delete_if(item_id, condition, values)

    def rewrap(self, item_id: str, *, old: bytes, new: bytes, created_at: int | None) -> bool:
        """Put a wrapped data key in the place of exactly this one; False when it is not there.

        With ``created_at`` that becomes the item's time.
        """
        change, values = "SET encryptedKey = :new", {":new": as_binary(new), ":old": as_binary(old)}
        if created_at is not None:
            change, values = f"{change}, createdAt = :at", values | {":at": as_number(created_at)}
        return self._write_if(
            "update_item",
            item_id,
            UpdateExpression=change,
            ConditionExpression="encryptedKey = :old",
            ExpressionAttributeValues=values,
        )

    def page(
        self,
        start: Item | None = None,
        *,
        limit: int = PAGE_ITEMS,
        consistent: bool = False,
        whole: bool = False,
    ) -> Page:
        """Return the next items of the whole table, of all kinds and namespaces.

        Reads at most ``limit`` items, in one call; without their ciphertext, unless whole.
        """
        return self._page(
            "scan",
            start,
            TableName=self._name,
            Limit=limit,
            ConsistentRead=consistent,
            **_projection(() if whole else HEAD_ATTRIBUTES),
        )

    def estimated_items(self) -> int:
        """Return how many items AWS counted in the whole table, up to six hours ago."""
        answer = self._call("describe_table", TableName=self._name)
        return int(answer.get("Table", {}).get("ItemCount", 0))

    def server_time(self) -> float | None:
        """Return what time it is at AWS, by the `Date` of an answer; None where it has none."""
        answer = self._call("get_item", TableName=self._name, Key=_key("clock"))
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        return None if date is None else parsedate_to_datetime(date).timestamp()

    def ttl_attribute(self) -> str | None:
        """Return the attribute by which DynamoDB deletes what has expired; None where it does not.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TimeToLiveDescription.html
        """
        answer = self._call("describe_time_to_live", TableName=self._name)
        told = answer.get("TimeToLiveDescription")
        if told is None:
            raise TableUnavailable
        on = told.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
        return told.get("AttributeName") if on else None

    def owned_page(self, owner: str, start: Item | None = None, *, limit: int = PAGE_ITEMS) -> Page:
        """Return the next keys under an owner in the index, newest first; the index lags behind.

        Each item has `id`, `owner` and `createdAt` only.
        """
        page = self._page(
            "query",
            start,
            TableName=self._name,
            IndexName=OWNER_INDEX,
            KeyConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}},
            ScanIndexForward=False,
            Limit=limit,
        )
        if not all(_is_of(item, "owner", owner) for item in page.items):
            raise TableUnavailable("The index answered with another owner than was asked for.")
        return page

    def owned(self, owner: str) -> list[str]:
        """Return all ids under an owner in the index, newest first; the index lags behind."""
        page = self.owned_page(owner, limit=1000)
        ids = [item["id"]["S"] for item in page.items]
        while page.next is not None:
            page = self.owned_page(owner, page.next, limit=1000)
            ids += [item["id"]["S"] for item in page.items]
        return ids

    def _delete_if(
        self,
        item_id: str,
        condition: str,
        values: Item | None = None,
        names: dict[str, str] | None = None,
    ) -> bool:
        params: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        if values:
            params["ExpressionAttributeValues"] = values
        return self._write_if("delete_item", item_id, ConditionExpression=condition, **params)

    def _write_if(self, operation: str, item_id: str, **params: Any) -> bool:
        """Write on a condition; False when it does not hold, if only since it was made before."""
        try:
            self._repeated(operation, TableName=self._name, Key=_key(item_id), **params)
        except ConditionFailed:
            return False
        return True

    def _page(self, operation: str, start: Item | None, **params: Any) -> Page:
        if start is not None:
            params["ExclusiveStartKey"] = start
        answer = self._call(operation, **params)
        if not all(_is_text(item, "id") for item in answer.get("Items", [{}])):
            raise TableUnavailable
        return Page(answer["Items"], answer.get("LastEvaluatedKey"))


def _key(item_id: str) -> Item:
    return {"id": {"S": item_id}}


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
