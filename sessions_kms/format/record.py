"""Sealed records and tombstones, and their DynamoDB items (docs/format.md).

Sessions and other item types are stored as `SessionRecord`. When a session's key changes, a
tombstone replaces it for ten minutes. The tombstone shows that the session still exists, but not
under which id, so that the old key does not lead to the new one. This module handles neither
plaintext nor keys.

The ancestors of a record are the first bytes of the salts of the records that it replaced. A write
whose response was lost is recognized by its salt, in the stored record or among its ancestors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import (
    ANCESTOR_BYTES,
    ANCESTORS_MAX,
    RECORD_FIELDS,
    FieldReader,
    Item,
    as_number,
    number,
    read_fields,
    text,
)
from sessions_kms.format.item_types import SESSION, TOMBSTONE, ItemType

TOMBSTONE_LIFETIME: Final = 600  # seconds
UNSETTLED: Final = 15  # seconds in which a browser may still receive the new key
CLOCK_SKEW: Final = 300  # seconds
DATA_KEY_USE: Final = (
    8 * 24 * 3600
)  # seconds after the start of its period in which a data key may seal
LONGEST_AGE: Final = 400 * 86_400  # seconds after its last write at which a shared item ends


class Tombstone(NamedTuple):
    """Marks a session's previous key as replaced. ``moved_at`` is in epoch seconds."""

    id: str
    moved_at: int

    def to_item(self) -> Item:
        """Return it as a DynamoDB item."""
        return TOMBSTONE.item(self.id) | {
            "movedAt": as_number(self.moved_at),
            "ttl": as_number(self.moved_at + TOMBSTONE_LIFETIME),
        }

    @property
    def settled_at(self) -> int:
        """The time after which the browser must have received the new key."""
        return self.moved_at + UNSETTLED

    def is_ahead(self, now: float) -> bool:
        """Return True if it is from the future and must be ignored."""
        return self.moved_at > now + CLOCK_SKEW


def is_tombstone(item: Mapping[str, Any]) -> bool:
    """Return True if an item, or the part of it that lists read, is a tombstone.

    An item with any part of a ciphertext is a record, even with a tombstone's attributes.
    """
    return "movedAt" in item and not item.keys() & {"encryptedData", "authTag"}


def read_tombstone(item: Mapping[str, Any]) -> Tombstone | None:
    """Return the tombstone in an item; None for any other item. Raises InvalidRecord."""
    if not is_tombstone(item):
        return None
    TOMBSTONE.version_of(item)
    return Tombstone(text(item, "id"), number(item, "movedAt"))


def next_ancestors(salt: bytes, ancestors: bytes) -> bytes:
    """Return the ancestors of the record that replaces this one, newest first."""
    return (salt[:ANCESTOR_BYTES] + ancestors)[: ANCESTOR_BYTES * ANCESTORS_MAX]


def descends(ancestors: bytes, salt: bytes) -> bool:
    """Return True if a record with this salt is among the ancestors."""
    marks = (ancestors[at : at + ANCESTOR_BYTES] for at in range(0, len(ancestors), ANCESTOR_BYTES))
    return salt[:ANCESTOR_BYTES] in marks


def read_ancestors(attribute: Any) -> bytes:
    """Return the ancestors in an attribute; none if it is malformed or missing."""
    value = attribute.get("B") if isinstance(attribute, dict) else None
    if not isinstance(value, bytes) or len(attribute) != 1:
        return b""
    whole = len(value) % ANCESTOR_BYTES == 0 and len(value) <= ANCESTOR_BYTES * ANCESTORS_MAX
    return value if whole else b""


@dataclass(kw_only=True, slots=True)
class Header:
    """The unencrypted fields of a record, all authenticated with the ciphertext."""

    id: str
    created_at: int
    updated_at: int
    ttl: int
    revision: int
    owner: str | None = None
    version: int = field(default_factory=lambda: SESSION.written)


@dataclass(kw_only=True, slots=True)
class RecordHead(Header):
    """A record without its ciphertext of up to 400 KB, for lists.

    Times are epoch seconds.
    """

    key_period: int
    encrypted_key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    auth_tag: bytes = field(repr=False)

    @classmethod
    def from_item(cls, item: Mapping[str, Any], item_type: ItemType = SESSION) -> "RecordHead":
        """Read an item of a type; unknown attributes are ignored.

        Raises InvalidRecord with the name of the first invalid attribute.
        """
        version = item_type.version_of(item)  # first: another version may have other attributes
        return cls(
            version=version, **read_fields(item, _HEAD if "owner" in item else _ANONYMOUS_HEAD)
        )

    def is_ahead(self, now: float) -> bool:
        """Return True if it was written in the future.

        Then a wrong clock is more likely than a forged record, so the record is not called invalid.
        """
        return self.updated_at > now + CLOCK_SKEW

    def check_times(self) -> None:
        """Reject a record that was sealed outside the time of its data key.

        A data key that leaked long ago must not seal new records, nor records with a later creation
        time, which would outlive the absolute timeout. Raises InvalidRecord.
        """
        if not self.key_period <= self.updated_at <= self.key_period + DATA_KEY_USE:
            raise InvalidRecord("key_period")
        if self.created_at > self.updated_at + CLOCK_SKEW:
            raise InvalidRecord("created_after_updated")


@dataclass(kw_only=True, slots=True)
class SessionRecord(RecordHead):
    """One sealed session. Times are epoch seconds. ``ancestors`` is not sealed."""

    encrypted_data: bytes = field(repr=False)
    ancestors: bytes = field(default=b"", repr=False)

    def to_item(self) -> Item:
        """Return the record as a DynamoDB item in the low-level attribute form."""
        item: Item = {
            "id": {"S": self.id},
            "version": {"N": str(self.version)},
            "encryptedData": {"B": self.encrypted_data},
            "iv": {"B": self.iv},
            "authTag": {"B": self.auth_tag},
            "encryptedKey": {"B": self.encrypted_key},
            "keyPeriod": {"N": str(self.key_period)},
            "salt": {"B": self.salt},
            "commitment": {"B": self.commitment},
            "createdAt": {"N": str(self.created_at)},
            "updatedAt": {"N": str(self.updated_at)},
            "ttl": {"N": str(self.ttl)},
            "revision": {"N": str(self.revision)},
        }
        if self.owner is not None:
            item["owner"] = {"S": self.owner}
        if self.ancestors:
            item["ancestors"] = {"B": self.ancestors}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any], item_type: ItemType = SESSION) -> "SessionRecord":
        """Read an item of a type, as `RecordHead.from_item` does."""
        ancestors = read_ancestors(item["ancestors"]) if "ancestors" in item else b""
        version = item_type.version_of(item)
        values = read_fields(item, _WHOLE if "owner" in item else _ANONYMOUS)
        return cls(version=version, ancestors=ancestors, **values)


def read_stored(item: Mapping[str, Any]) -> SessionRecord | Tombstone:
    """Read the item under a session's id. Raises InvalidRecord."""
    return (read_tombstone(item) if "movedAt" in item else None) or SessionRecord.from_item(item)


def _required_of(record: type[Header]) -> tuple[FieldReader, ...]:
    """Return the readers of a dataclass's required fields, without the version."""
    names = {each.name for each in fields(record)} - {"version"}
    return tuple(each[:5] for each in RECORD_FIELDS if each.name in names and not each.is_optional)


_OWNER: Final = next(each[:5] for each in RECORD_FIELDS if each.name == "owner")
_ANONYMOUS_HEAD: Final = _required_of(RecordHead)
_ANONYMOUS: Final = _required_of(SessionRecord)
_HEAD: Final = (*_ANONYMOUS_HEAD, _OWNER)
_WHOLE: Final = (*_ANONYMOUS, _OWNER)

# The attributes that a scan of the table reads: a record's without its ciphertext, a tombstone's.
HEAD_ATTRIBUTES: Final = ("version", *(attribute for _, attribute, *_ in _HEAD), "movedAt")
