"""What stands for ten minutes in the place of a session whose key was changed.

It says that the session lives on, and not where: whoever holds the old key is not led to
the new one.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sessions_kms.format.attributes import Item, as_number, number, text
from sessions_kms.format.kinds import TOMBSTONE
from sessions_kms.format.record import CLOCK_SKEW

LIFETIME: Final = 600  # seconds
UNSETTLED: Final = 15  # seconds in which a browser may yet get the new key


class Tombstone(NamedTuple):
    """The end of a session's former key. ``moved_at`` is in epoch seconds."""

    id: str
    moved_at: int

    def to_item(self) -> Item:
        """Return it as a DynamoDB item."""
        return TOMBSTONE.item(self.id) | {
            "movedAt": as_number(self.moved_at),
            "ttl": as_number(self.moved_at + LIFETIME),
        }

    @property
    def settled_at(self) -> int:
        """The time from which the answer with the new key is no longer on its way."""
        return self.moved_at + UNSETTLED

    def is_ahead(self, now: float) -> bool:
        """Tell whether it is of a time to come, and counts for nothing."""
        return self.moved_at > now + CLOCK_SKEW


def is_tombstone(item: Mapping[str, Any]) -> bool:
    """Tell whether an item, or what lists read of it, is a tombstone.

    What has any part of a ciphertext is a record, to which somebody added.
    """
    return "movedAt" in item and not item.keys() & {"encryptedData", "authTag"}


def tombstone_in(item: Mapping[str, Any]) -> Tombstone | None:
    """Return the tombstone that an item is; None for any other. Raises InvalidRecord."""
    if not is_tombstone(item):
        return None
    TOMBSTONE.version_of(item)
    return Tombstone(text(item, "id"), number(item, "movedAt"))
