"""The sealed record and its DynamoDB item (docs/format.md): a session's, and that of other kinds.

Takes a record and gives an item, or the other way round, where every type,
length and number form is checked. Knows neither plaintext nor keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import ancestors
from sessions_kms.format.attributes import (
    ENCRYPTED_KEY_MAX_BYTES,
    ITEM_MAX_BYTES,
    Field,
    Item,
    read,
)
from sessions_kms.format.kind import Kind
from sessions_kms.format.kinds import SESSION

IV_BYTES: Final = 12
TAG_BYTES: Final = 16
SALT_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32
CLOCK_SKEW: Final = 300  # seconds
DATA_KEY_USE: Final = 8 * 24 * 3600  # seconds after its period's start that a data key may seal

# The attributes of a record without its ciphertext, and all that is read of other kinds of item
# by who goes through the table.
HEAD_ATTRIBUTES: Final = (
    "id",
    "version",
    "iv",
    "authTag",
    "encryptedKey",
    "keyPeriod",
    "salt",
    "commitment",
    "createdAt",
    "updatedAt",
    "ttl",
    "revision",
    "owner",
    "movedAt",  # of a tombstone
)

_HEAD: Final[tuple[Field, ...]] = (
    ("id", "id", "S", 0, 0),
    ("created_at", "createdAt", "N", 0, 0),
    ("updated_at", "updatedAt", "N", 0, 0),
    ("ttl", "ttl", "N", 0, 0),
    ("revision", "revision", "N", 0, 0),
    ("owner", "owner", "S", 0, 0),
    ("key_period", "keyPeriod", "N", 0, 0),
    ("encrypted_key", "encryptedKey", "B", 1, ENCRYPTED_KEY_MAX_BYTES),
    ("salt", "salt", "B", SALT_BYTES, SALT_BYTES),
    ("commitment", "commitment", "B", COMMITMENT_BYTES, COMMITMENT_BYTES),
    ("iv", "iv", "B", IV_BYTES, IV_BYTES),
    ("auth_tag", "authTag", "B", TAG_BYTES, TAG_BYTES),
)
_WHOLE: Final = (*_HEAD, ("encrypted_data", "encryptedData", "B", 0, ITEM_MAX_BYTES))
# The same of a record that has no owner.
_HEAD_OF_NONE: Final = tuple(field for field in _HEAD if field[0] != "owner")
_WHOLE_OF_NONE: Final = tuple(field for field in _WHOLE if field[0] != "owner")


@dataclass(kw_only=True, slots=True)
class Header:
    """What a record says in the clear; all of it is bound by the ciphertext."""

    id: str
    created_at: int
    updated_at: int
    ttl: int
    revision: int
    owner: str | None = None
    version: int = field(default_factory=lambda: SESSION.written)


@dataclass(kw_only=True, slots=True)
class RecordHead(Header):
    """A record without its ciphertext, which may be 400 KB: what lists read of it.

    Times are epoch seconds.
    """

    key_period: int
    encrypted_key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    auth_tag: bytes = field(repr=False)

    @classmethod
    def from_item(cls, item: Mapping[str, Any], kind: Kind = SESSION) -> "RecordHead":
        """Read an item of a kind; attributes that the format does not know are ignored.

        Raises InvalidRecord, named after the first attribute that is not right.
        """
        version = kind.version_of(item)  # first: of another version the rest may be otherwise
        return cls(version=version, **read(item, _HEAD if "owner" in item else _HEAD_OF_NONE))

    def is_ahead(self, now: float) -> bool:
        """Tell whether it was written at a time to come: then a clock is wrong, more often than
        a record is forged, and nothing can be told.
        """
        return self.updated_at > now + CLOCK_SKEW

    def check_times(self) -> None:
        """Refuse a record that was sealed with a data key outside its time.

        A data key that leaked long ago must not sign new records, nor old ones of
        sessions that claim to begin later and would outlive the absolute timeout.
        Raises InvalidRecord.
        """
        if self.key_period and not (
            self.key_period <= self.updated_at <= self.key_period + DATA_KEY_USE
        ):
            raise InvalidRecord("key_period")
        if self.created_at > self.updated_at + CLOCK_SKEW:
            raise InvalidRecord("created_after_updated")


@dataclass(kw_only=True, slots=True)
class SessionRecord(RecordHead):
    """One sealed session. Times are epoch seconds. ``ancestors`` is nothing that is sealed."""

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
    def from_item(cls, item: Mapping[str, Any], kind: Kind = SESSION) -> "SessionRecord":
        """Read an item of a kind, as that of a head."""
        version = kind.version_of(item)
        found = read(item, _WHOLE if "owner" in item else _WHOLE_OF_NONE)
        beside = ancestors.read(item["ancestors"]) if "ancestors" in item else b""
        return cls(version=version, ancestors=beside, **found)
