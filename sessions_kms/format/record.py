"""The session record and its DynamoDB item, format version 1 (docs/format.md).

Takes a record and gives an item, or the other way round, where every type,
length and number form is checked. Knows neither plaintext nor keys.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import ancestors as lineage

VERSION: Final = 1
IV_BYTES: Final = 12
TAG_BYTES: Final = 16
SALT_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html (CiphertextBlob)
ENCRYPTED_KEY_MAX_BYTES: Final = 6144
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_MAX_BYTES: Final = 400 * 1024
OWNER_MAX_BYTES: Final = 1024
SHORT_ID: Final = 8  # letters of a session's id that logs and people see
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

_NUMBER = re.compile(r"0|[1-9][0-9]{0,37}")  # DynamoDB keeps 38 digits

Item = dict[str, dict[str, Any]]


def session_id(namespace: str, session_key: str) -> str:
    """Return the partition key of a session: a digest, so that the table gives no cookie away."""
    digest = hashlib.sha256(
        b"sessions_kms/1/id\0" + namespace.encode() + b"\0" + session_key.encode()
    ).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def owner_of(namespace: str, user_id: object) -> str | None:
    """Return the owner attribute of a user's sessions, or None where it cannot be indexed."""
    if user_id is None or user_id == "":
        return None
    owner = f"{owner_prefix(namespace)}{user_id}"
    return owner if _is_text(owner) else None


def owner_prefix(namespace: str) -> str:
    """Return what the owners of a namespace's records begin with; the user's id follows."""
    return f"user#{namespace}#"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a record says in the clear; all of it is bound by the ciphertext."""

    id: str
    created_at: int
    updated_at: int
    ttl: int
    revision: int
    owner: str | None = None
    version: int = VERSION


@dataclass(frozen=True, kw_only=True)
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
    def from_item(cls, item: Mapping[str, Any]) -> "RecordHead":
        """Read an item; attributes that the format does not know are ignored.

        Raises InvalidRecord, named after the first attribute that is not right.
        """
        return cls(**_head_of(item))

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


@dataclass(frozen=True, kw_only=True)
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
    def from_item(cls, item: Mapping[str, Any]) -> "SessionRecord":
        """Read an item, as that of a head."""
        return cls(
            **_head_of(item),
            encrypted_data=binary(item, "encryptedData", 0, ITEM_MAX_BYTES),
            ancestors=lineage.read(item.get("ancestors")),
        )


def _head_of(item: Mapping[str, Any]) -> dict[str, Any]:
    if number(item, "version") != VERSION:
        raise InvalidRecord("version")
    return {
        "id": text(item, "id"),
        "created_at": number(item, "createdAt"),
        "updated_at": number(item, "updatedAt"),
        "ttl": number(item, "ttl"),
        "revision": number(item, "revision"),
        "owner": text(item, "owner") if "owner" in item else None,
        "key_period": number(item, "keyPeriod"),
        "encrypted_key": binary(item, "encryptedKey", 1, ENCRYPTED_KEY_MAX_BYTES),
        "salt": binary(item, "salt", SALT_BYTES),
        "commitment": binary(item, "commitment", COMMITMENT_BYTES),
        "iv": binary(item, "iv", IV_BYTES),
        "auth_tag": binary(item, "authTag", TAG_BYTES),
    }


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
        item: Item = {
            "id": {"S": item_id},
            "version": {"N": str(VERSION)},
            "keyPeriod": {"N": str(self.period)},
            "encryptedKey": {"B": self.encrypted},
            "createdAt": {"N": str(self.created_at)},
            "ttl": {"N": str(self.ttl)},
        }
        if self.replaced_at is not None:
            item["replacedAt"] = {"N": str(self.replaced_at)}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "PublishedKey":
        """Read such an item. Raises InvalidRecord."""
        if number(item, "version") != VERSION:
            raise InvalidRecord("version")
        return cls(
            period=number(item, "keyPeriod"),
            encrypted=binary(item, "encryptedKey", 1, ENCRYPTED_KEY_MAX_BYTES),
            created_at=number(item, "createdAt"),
            ttl=number(item, "ttl"),
            replaced_at=number(item, "replacedAt") if "replacedAt" in item else None,
        )


def item_size(item: Item) -> int:
    """Return an upper bound of the bytes that DynamoDB counts for an item.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def number(item: Mapping[str, Any], name: str) -> int:
    """Return a whole, non-negative number in canonical form. Raises InvalidRecord."""
    value = _typed(item, name, "N", str)
    if not _NUMBER.fullmatch(value):
        raise InvalidRecord(name)
    return int(value)


def binary(item: Mapping[str, Any], name: str, at_least: int, at_most: int | None = None) -> bytes:
    """Return bytes of a length within bounds (of exactly one length by default).

    Raises InvalidRecord.
    """
    value: bytes = _typed(item, name, "B", bytes)
    if not at_least <= len(value) <= (at_least if at_most is None else at_most):
        raise InvalidRecord(name)
    return value


def text(item: Mapping[str, Any], name: str) -> str:
    """Return text that is not empty, at most as long as an owner. Raises InvalidRecord."""
    value: str = _typed(item, name, "S", str)
    if not _is_text(value):
        raise InvalidRecord(name)
    return value


def _is_text(value: str) -> bool:
    try:
        return 1 <= len(value.encode()) <= OWNER_MAX_BYTES
    except UnicodeEncodeError:  # A lone surrogate, which JSON can spell, has no UTF-8 form.
        return False


def _typed(item: Mapping[str, Any], name: str, tag: str, kind: type) -> Any:
    attribute = item.get(name)
    if not isinstance(attribute, dict) or len(attribute) != 1:
        raise InvalidRecord(name)
    value = attribute.get(tag)
    if not isinstance(value, kind):
        raise InvalidRecord(name)
    return value


def _value_size(value: Mapping[str, Any]) -> int:
    if "N" in value:
        return len(value["N"]) // 2 + 2
    content = value["S"].encode() if "S" in value else value["B"]
    return len(content)
