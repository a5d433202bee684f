"""Attributes of a DynamoDB item in the low-level form, and the table of a sealed record's fields.

A value has one type and one value, such as ``{"N": "1"}``. Every value is validated when read.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from sessions_kms.exceptions import InvalidRecord

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_MAX_BYTES: Final = 400 * 1024
TEXT_MAX_BYTES: Final = 1024  # DynamoDB takes 2048 for the key of an index
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html (CiphertextBlob)
ENCRYPTED_KEY_MAX_BYTES: Final = 6144

DIGITS_MAX: Final = 38  # of a number, as DynamoDB keeps them

IV_BYTES: Final = 12
TAG_BYTES: Final = 16
SALT_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32
ANCESTOR_BYTES: Final = 8  # the beginning of the salt of a replaced record
ANCESTORS_MAX: Final = 16

Attribute = dict[str, Any]
Item = dict[str, Attribute]


class Field(NamedTuple):
    """One field of a sealed record: its name in the code, its attribute, and DynamoDB's type.

    ``minimum`` and ``maximum`` limit the length of bytes. ``is_bound`` means that the associated
    data contains it, so that a record with another value does not decrypt.
    """

    name: str
    attribute: str
    type: str
    minimum: int = 0
    maximum: int = 0
    is_optional: bool = False
    is_bound: bool = False


# The members of a Field that reading needs; a plain tuple is faster to unpack.
FieldReader: TypeAlias = tuple[str, str, str, int, int]


# A sealed record, each field declared once. Readers, projections and the table of item types are
# derived from this; `SessionRecord.to_item` and `envelope` spell it out, and a test compares them.
RECORD_FIELDS: Final = (
    Field("id", "id", "S", is_bound=True),
    Field("version", "version", "N", is_bound=True),
    Field("encrypted_data", "encryptedData", "B", 0, ITEM_MAX_BYTES),
    Field("iv", "iv", "B", IV_BYTES, IV_BYTES),
    Field("auth_tag", "authTag", "B", TAG_BYTES, TAG_BYTES),
    Field("encrypted_key", "encryptedKey", "B", 1, ENCRYPTED_KEY_MAX_BYTES),
    Field("key_period", "keyPeriod", "N"),
    Field("salt", "salt", "B", SALT_BYTES, SALT_BYTES, is_bound=True),
    Field("commitment", "commitment", "B", COMMITMENT_BYTES, COMMITMENT_BYTES, is_bound=True),
    Field("created_at", "createdAt", "N", is_bound=True),
    Field("updated_at", "updatedAt", "N", is_bound=True),
    Field("ttl", "ttl", "N", is_bound=True),
    Field("revision", "revision", "N", is_bound=True),
    Field("owner", "owner", "S", is_optional=True, is_bound=True),
    Field("ancestors", "ancestors", "B", 0, ANCESTOR_BYTES * ANCESTORS_MAX, is_optional=True),
)


def as_number(value: int) -> Attribute:
    """Return a number in the attribute form."""
    return {"N": str(value)}


def as_binary(value: bytes) -> Attribute:
    """Return bytes in the attribute form."""
    return {"B": value}


def as_text(value: str) -> Attribute:
    """Return text in the attribute form."""
    return {"S": value}


def number(item: Mapping[str, Any], name: str) -> int:
    """Return a whole, non-negative number in canonical form. Raises InvalidRecord."""
    attribute = item.get(name)
    if type(attribute) is dict and len(attribute) == 1:
        value = attribute.get("N")
        if type(value) is str and is_number(value):
            return int(value)
    raise InvalidRecord(name)


def binary(item: Mapping[str, Any], name: str, at_least: int, at_most: int | None = None) -> bytes:
    """Return bytes of at least one and at most another length (by default exactly ``at_least``).

    Raises InvalidRecord.
    """
    attribute = item.get(name)
    if type(attribute) is dict and len(attribute) == 1:
        value = attribute.get("B")
        longest = at_least if at_most is None else at_most
        if type(value) is bytes and at_least <= len(value) <= longest:
            return value
    raise InvalidRecord(name)


def text(item: Mapping[str, Any], name: str) -> str:
    """Return text of 1 to TEXT_MAX_BYTES bytes. Raises InvalidRecord."""
    attribute = item.get(name)
    if type(attribute) is dict and len(attribute) == 1:
        value = attribute.get("S")
        if type(value) is str and is_text(value):
            return value
    raise InvalidRecord(name)


def is_number(value: str) -> bool:
    """Return True if this is a whole, non-negative number as DynamoDB writes it.

    A regular expression takes four times as long, and a load reads six numbers.
    """
    is_whole = value.isdecimal() and value.isascii() and len(value) <= DIGITS_MAX
    return is_whole and (value[0] != "0" or value == "0")


def is_text(value: str) -> bool:
    """Return True if this is valid text of the format: not empty, and not too long."""
    try:
        return 1 <= len(value.encode()) <= TEXT_MAX_BYTES
    except UnicodeEncodeError:  # A lone surrogate, which JSON can contain, has no UTF-8 encoding.
        return False


def read_fields(item: Mapping[str, Any], readers: tuple[FieldReader, ...]) -> dict[str, Any]:
    """Return fields of an item by their names, each checked as the functions above do.

    Raises InvalidRecord for the first invalid one. Every load calls this.
    """
    values: dict[str, Any] = {}
    for name, attribute, type_, minimum, maximum in readers:
        stored = item.get(attribute)
        value = stored.get(type_) if type(stored) is dict and len(stored) == 1 else None
        if type_ == "B" and type(value) is bytes and minimum <= len(value) <= maximum:
            values[name] = value
        elif type_ == "N" and type(value) is str and is_number(value):
            values[name] = int(value)
        elif type_ == "S" and type(value) is str and is_text(value):
            values[name] = value
        else:
            raise InvalidRecord(attribute)
    return values


def item_size(item: Item) -> int:
    """Return an upper bound of the bytes that DynamoDB counts for an item.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    if "N" in value:
        return len(value["N"]) // 2 + 2
    content = value["S"].encode() if "S" in value else value["B"]
    return len(content)
