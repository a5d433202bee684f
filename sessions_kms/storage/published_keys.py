"""Data keys that the fleet publishes in the table, wrapped by KMS: one item for each period."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import (
    ENCRYPTED_KEY_MAX_BYTES,
    Item,
    as_binary,
    as_number,
    binary,
    is_number,
    number,
)
from sessions_kms.format.item_types import DATA_KEY, data_key_id
from sessions_kms.storage.suspect_responses import retry_invalid_read
from sessions_kms.storage.table import Table, try_write
from sessions_kms.storage.writes import ABSENT, Condition, equal

NOT_WRAPPED: Final = Condition("attribute_not_exists(#encryptedKey)")
PREPARED_AHEAD: Final = 24 * 3600  # seconds; processes publish a data key later than that


@dataclass(frozen=True)
class PublishedKey:
    """The data key of a period as the fleet shares it: wrapped by KMS. Times are epoch seconds.

    ``replaced_at`` is when an operator put it in the place of one that had leaked.
    """

    period: int
    encrypted: bytes = field(repr=False)
    created_at: int
    ttl: int
    replaced_at: int | None = None

    def to_item(self, item_id: str) -> Item:
        """Return it as the DynamoDB item of this id."""
        item = DATA_KEY.item(item_id) | {
            "keyPeriod": as_number(self.period),
            "encryptedKey": as_binary(self.encrypted),
            "createdAt": as_number(self.created_at),
            "ttl": as_number(self.ttl),
        }
        if self.replaced_at is not None:
            item["replacedAt"] = as_number(self.replaced_at)
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "PublishedKey":
        """Read such an item. Raises InvalidRecord."""
        DATA_KEY.version_of(item)
        return cls(
            period=number(item, "keyPeriod"),
            encrypted=binary(item, "encryptedKey", 1, ENCRYPTED_KEY_MAX_BYTES),
            created_at=number(item, "createdAt"),
            ttl=number(item, "ttl"),
            replaced_at=number(item, "replacedAt") if "replacedAt" in item else None,
        )


def data_key_period(namespace: str, item: Mapping[str, Any]) -> int | None:
    """Return the period in the id of an item of this namespace; None for no data key's id."""
    start, period = data_key_id(namespace, 0)[:-1], str(item["id"]["S"])
    if not period.startswith(start) or not is_number(period.removeprefix(start)):
        return None
    return int(period.removeprefix(start))


class DataKeyItems:
    """The published data keys of one namespace. All raise TableUnavailable."""

    def __init__(self, table: Table, namespace: str) -> None:
        self._table = table
        self._namespace = namespace

    async def get(self, period: int) -> PublishedKey | None:
        """Return the published data key of a period. Raises InvalidRecord."""
        return await retry_invalid_read(partial(self._get, period))

    async def _get(self, period: int) -> PublishedKey | None:
        item = await self._table.get(data_key_id(self._namespace, period))
        return None if item is None else _parse(item, period)

    async def publish(self, key: PublishedKey) -> bool:
        """Publish the data key of its period; False when one is there already."""
        return await self._put(key, ABSENT)

    async def replace(self, key: PublishedKey, *, old: bytes) -> bool:
        """Put a data key in the place of the one with exactly the old blob; False if it is not."""
        return await self._put(key, equal("encryptedKey", as_binary(old)))

    async def replace_unreadable(self, key: PublishedKey) -> bool:
        """Put a data key in the place of an item that cannot be read; False if there is none.

        A writer of the table may store such an item. It must not protect a leaked data key.
        """
        item = await self._table.get(data_key_id(self._namespace, key.period))
        if item is None:
            return False
        with suppress(InvalidRecord):
            _parse(item, key.period)
            return False
        wrapped = item.get("encryptedKey")
        return await self._put(
            key, NOT_WRAPPED if wrapped is None else equal("encryptedKey", wrapped)
        )

    async def _put(self, key: PublishedKey, when: Condition) -> bool:
        """Put a data key; if it is sent twice, the caller recognises its own."""
        item = key.to_item(data_key_id(self._namespace, key.period))
        return await try_write(self._table.put(item, when=when))


def _parse(item: Item, period: int) -> PublishedKey:
    """Read the item of a period. Raises InvalidRecord."""
    key = PublishedKey.from_item(item)
    if key.period != period:
        raise InvalidRecord("keyPeriod")
    return key
