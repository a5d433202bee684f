"""The answer of DynamoDB to a write: with evidence that it was applied, or without.

An answer may be that to another request. One to a delete, or to a put that replaces, has the item
that was there, with its id, and the salt or stamp that the request named: no answer to another
request has that. A new item and a transaction come without evidence.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html (ReturnValues)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sessions_kms.aws.table_client import connection_of
from sessions_kms.format.attributes import Item

if TYPE_CHECKING:
    from sessions_kms.aws.http_client.connections import Connection


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer to a write. ``old`` is the item that was there before, if the answer has one.

    ``connection`` is the one that the answer came on; None where boto asked.
    """

    old: Item | None
    connection: "Connection | None"

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Acknowledgement":
        """Return the one that an answer is."""
        return cls(answer.get("Attributes"), connection_of(answer))

    def is_of(self, item_id: str, required: Item | None) -> bool:
        """Tell whether a write to an item may have been answered so.

        ``required`` are attributes of the item by which alone the write was to be applied.
        """
        if self.old is None:
            return not required
        had = {"id": {"S": item_id}, **(required or {})}
        return had.items() <= self.old.items()

    def is_enough(self, expected: Item | None) -> bool:
        """Tell whether the write counts without a look at what is stored.

        It does if the answer has the expected old item. Where there was none, or nobody knows
        which it was, it does with boto only. ``expected`` is as a `Trace` has it.
        """
        if self.old is None or expected is None:
            return self.connection is None
        return expected.items() <= self.old.items()
