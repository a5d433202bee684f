"""Scans and queries of the table, and what AWS says about it as a whole.

The owner index is eventually consistent. All methods raise TableUnavailable if there is no
usable response.
"""

from typing import Any, NamedTuple

from sessions_kms.aws.clock import parse_date
from sessions_kms.aws.table_client import connection_of
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import HEAD_ATTRIBUTES
from sessions_kms.storage.table import Table, project
from sessions_kms.storage.writes import key_of

OWNER_INDEX = "by-owner"
PAGE_ITEMS = 100
INDEX_PAGE_ITEMS = 1000


class Page(NamedTuple):
    """Items in DynamoDB's own order; ``next`` is where the following page starts, None at the end.

    It names the last item that was read, and stays valid when that item is deleted.
    """

    items: list[Item]
    next: Item | None


class Queries:
    """Scans and queries of one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def scan(
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
        attributes = () if whole else HEAD_ATTRIBUTES
        params = {"Limit": limit, "ConsistentRead": consistent, **project(attributes)}
        return await self._page("scan", start, params)

    async def owned(
        self, owner: str, start: Item | None = None, *, limit: int = PAGE_ITEMS
    ) -> Page:
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
            "ReturnConsumedCapacity": "TOTAL",
        }
        return await self._page("query", start, params, owner)

    async def owned_ids(self, owner: str) -> list[str]:
        """Return all ids under an owner in the index, newest first; the index lags behind."""
        page = await self.owned(owner, limit=INDEX_PAGE_ITEMS)
        ids = [item["id"]["S"] for item in page.items]
        while page.next is not None:
            page = await self.owned(owner, page.next, limit=INDEX_PAGE_ITEMS)
            ids += [item["id"]["S"] for item in page.items]
        return ids

    async def _page(
        self, operation: str, start: Item | None, params: dict[str, Any], owner: str | None = None
    ) -> Page:
        """Return a page; an empty one is read again on another connection."""
        if start is not None:
            params["ExclusiveStartKey"] = start
        response = await self._table.read(operation, params)
        first = connection_of(response)
        if first is not None and not response.get("Items"):
            response = await self._table.read(operation, params, exclude=(first,))
            if response.get("Items"):
                self._table.strays.add(first, connection_of(response))
        if not all(_is_text(item, "id") for item in response.get("Items", [{}])):
            raise TableUnavailable
        if owner is not None and not all(
            _is_of(item, "owner", owner) for item in response["Items"]
        ):
            self._table.strays.add(connection_of(response))
            raise TableUnavailable("The index answered with another owner than was asked for.")
        return Page(response["Items"], response.get("LastEvaluatedKey"))

    async def estimated_items(self) -> int:
        """Return how many items AWS counted in the whole table, up to six hours ago."""
        response = await self._table.read("describe_table")
        return int(response.get("Table", {}).get("ItemCount", 0))

    async def ttl_attribute(self) -> str | None:
        """Return the attribute by which DynamoDB deletes what has expired; None if it does not.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TimeToLiveDescription.html
        """
        response = await self._table.read("describe_time_to_live")
        description = response.get("TimeToLiveDescription")
        if description is None:
            raise TableUnavailable
        on = description.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
        return description.get("AttributeName") if on else None

    async def server_time(self) -> float | None:
        """Return the time of AWS by the `Date` header of a response; None without that header."""
        response = await self._table.read("get_item", {"Key": key_of("clock")})
        return parse_date(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))


def _is_of(item: Any, name: str, value: str) -> bool:
    return isinstance(item, dict) and item.get(name) == {"S": value}


def _is_text(item: Any, name: str) -> bool:
    attribute = item.get(name) if isinstance(item, dict) else None
    return isinstance(attribute, dict) and isinstance(attribute.get("S"), str)
