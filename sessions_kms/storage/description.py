"""What AWS tells of the whole table: how large it is, what it deletes, what time it is there."""

from sessions_kms.aws.clock import parse_date
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.storage.condition import key_of
from sessions_kms.storage.table import Table


class Description:
    """What AWS says about one table. All methods raise TableUnavailable."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def estimated_items(self) -> int:
        """Return how many items AWS counted in the whole table, up to six hours ago."""
        answer = await self._table.read("describe_table")
        return int(answer.get("Table", {}).get("ItemCount", 0))

    async def ttl_attribute(self) -> str | None:
        """Return the attribute by which DynamoDB deletes what has expired; None where it does not.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TimeToLiveDescription.html
        """
        answer = await self._table.read("describe_time_to_live")
        told = answer.get("TimeToLiveDescription")
        if told is None:
            raise TableUnavailable
        on = told.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
        return told.get("AttributeName") if on else None

    async def server_time(self) -> float | None:
        """Return what time it is at AWS, by the `Date` of an answer; None where it has none."""
        answer = await self._table.read("get_item", {"Key": key_of("clock")})
        return parse_date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))
