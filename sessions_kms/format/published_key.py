"""The data key of a period as the fleet shares it, and its item (docs/format.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sessions_kms.format.attributes import (
    ENCRYPTED_KEY_MAX_BYTES,
    Item,
    as_binary,
    as_number,
    binary,
    number,
)
from sessions_kms.format.kinds import DATA_KEY


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
