"""Attributes of a DynamoDB item in the low-level form: made, and read with every check.

A value is one tag with one value, such as ``{"N": "1"}``. Knows no kind of item.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from sessions_kms.exceptions import InvalidRecord

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_MAX_BYTES: Final = 400 * 1024
TEXT_MAX_BYTES: Final = 1024  # DynamoDB takes 2048 for the key of an index
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html (CiphertextBlob)
ENCRYPTED_KEY_MAX_BYTES: Final = 6144

_is_number = re.compile(r"0|[1-9][0-9]{0,37}").fullmatch  # DynamoDB keeps 38 digits

Attribute = dict[str, Any]
Item = dict[str, Attribute]
# What the one who reads it calls it, the attribute, its type, and of bytes the least and the most.
# A plain tuple, since a named one takes longer to unpack.
Field: TypeAlias = tuple[str, str, str, int, int]


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
    held = item.get(name)
    if type(held) is dict and len(held) == 1:
        value = held.get("N")
        if type(value) is str and _is_number(value):
            return int(value)
    raise InvalidRecord(name)


def binary(item: Mapping[str, Any], name: str, at_least: int, at_most: int | None = None) -> bytes:
    """Return bytes of a length within bounds (of exactly one length by default).

    Raises InvalidRecord.
    """
    held = item.get(name)
    if type(held) is dict and len(held) == 1:
        value = held.get("B")
        longest = at_least if at_most is None else at_most
        if type(value) is bytes and at_least <= len(value) <= longest:
            return value
    raise InvalidRecord(name)


def text(item: Mapping[str, Any], name: str) -> str:
    """Return text that is not empty, at most as long as an owner. Raises InvalidRecord."""
    held = item.get(name)
    if type(held) is dict and len(held) == 1:
        value = held.get("S")
        if type(value) is str and is_text(value):
            return value
    raise InvalidRecord(name)


def read(item: Mapping[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """Return fields of an item by their names, each as `number`, `binary` or `text` reads it.

    Raises InvalidRecord, for the first that is not right. Each load has more than a dozen.
    """
    found: dict[str, Any] = {}
    for name, attribute, kind, at_least, at_most in fields:
        held = item.get(attribute)
        value = held.get(kind) if type(held) is dict and len(held) == 1 else None
        if kind == "B" and type(value) is bytes and at_least <= len(value) <= at_most:
            found[name] = value
        elif kind == "N" and type(value) is str and _is_number(value):
            found[name] = int(value)
        elif kind == "S" and type(value) is str and is_text(value):
            found[name] = value
        else:
            raise InvalidRecord(attribute)
    return found


def is_text(value: str) -> bool:
    """Tell whether this is text as the format takes it: not empty, and not too long."""
    try:
        return 1 <= len(value.encode()) <= TEXT_MAX_BYTES
    except UnicodeEncodeError:  # A lone surrogate, which JSON can spell, has no UTF-8 form.
        return False


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
