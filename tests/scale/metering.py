"""DynamoDB and KMS in memory, counting what AWS would count."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.aws.table_client import CONNECTION
from sessions_kms.format.attributes import Item
from sessions_kms.testing.dynamodb import Handle, MemoryDynamoDB, Response
from sessions_kms.testing.kms import MemoryKMS

READ_UNIT, WRITE_UNIT = 4096, 1024  # bytes, of a strongly consistent read and of a write
ITEM_OVERHEAD, INDEX_OVERHEAD = 100, 100  # bytes that AWS stores beside an item, and in an index
TRANSACTION = 2  # a write in a transaction costs twice


@dataclass
class Counts:
    """What was called, and the units that AWS bills."""

    calls: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    read_units: int = 0
    write_units: int = 0
    index_units: int = 0


class MeteredDynamoDB(MemoryDynamoDB):
    """Answers as over the built-in client, which names the connection of each response."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def _send(self, operation: str, ids: list[str], handle: Handle) -> Response:
        before = {item_id: self.items.get(item_id) for item_id in ids}
        response = super()._send(operation, ids, handle)
        self.counts.calls[operation] += 1
        for item_id in ids:
            self._count(operation, item_id, before[item_id])
        connection = object()  # another one for each call, so that responses can be confirmed
        return response | {"ResponseMetadata": {CONNECTION: connection}}

    def _count(self, operation: str, item_id: str, before: Item | None) -> None:
        self.counts.by_kind[f"{operation} of {kind_of(item_id)}"] += 1
        after = self.items.get(item_id)
        if operation == "GetItem":
            self.counts.read_units += _units(after, READ_UNIT)
            return
        times = TRANSACTION if operation == "TransactWriteItems" else 1
        larger = max(_units(before, WRITE_UNIT), _units(after, WRITE_UNIT))
        self.counts.write_units += times * larger
        self.counts.index_units += times * _index_writes(before, after)


class MeteredKMS(MemoryKMS):
    """Counts the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        """Count the call and return the key."""
        self.counts["GenerateDataKey"] += 1
        return super().generate_data_key(key_id, context)

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        """Count the call and unwrap the key."""
        self.counts["Decrypt"] += 1
        return super().decrypt(key_id, ciphertext, context)


def kind_of(item_id: str) -> str:
    """Return the kind of an item by its id: sessions have no prefix."""
    return item_id.partition("#")[0] if "#" in item_id else "session"


def size_of(item: Mapping[str, Any]) -> int:
    """Return what AWS bills: names and values, binary values before base64.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return ITEM_OVERHEAD + sum(len(name) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    return len(content) // 2 + 2 if kind == "N" else len(content)


def _units(item: Item | None, unit: int) -> int:
    """Return the units of an item; a request for one that is missing costs one."""
    return 1 if item is None else -(-size_of(item) // unit)


def _index_writes(before: Item | None, after: Item | None) -> int:
    """Return the writes to the index by owner: none unless an owner comes, goes or changes."""
    owner = "owner"
    was, now = (None if item is None else item.get(owner) for item in (before, after))
    if was == now:
        return 0
    return (was is not None) + (now is not None)
