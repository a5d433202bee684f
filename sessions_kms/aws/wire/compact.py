"""An answer with an item last, in the very form in which DynamoDB writes it: read without JSON.

The body of an answer enters; what its JSON says leaves, or None: then it is of another form, or
garbled, and a reader of JSON is to look. Where a body has no backslash, `"` does nothing but
begin and end texts, so what is between two of them is a text and the next piece is not. JSON's
own reader would look at each letter of a large value three times, and ask for each object.
"""

from collections.abc import Callable
from typing import Any, Final

from sessions_kms.aws.wire.attribute_values import Item, binary

_ITEM: Final = b'},"Item":{"'
_PIECES: Final = 6  # of a value: its name `":{"` its type `":"` what it holds `"},"`


def with_item_last(body: bytes, read: Callable[[str], Any]) -> dict[str, Any] | None:
    """Return the object that a body is; ``read`` reads the JSON before the item.

    Raises what that raises, or GarbledAnswer.
    """
    __traceback_hide__ = True
    end = body.find(_ITEM) + 1
    if not end or b"\\" in body or not body.isascii():
        return None
    pieces = body.split(b'"')
    # From the first name on: what is before it has as many quotes as its length tells.
    item = _item(pieces[body.count(b'"', 0, end + len(_ITEM) - 1) :])
    before = None if item is None else read(f"{body[:end].decode()}}}")
    if type(before) is not dict or "Item" in before:
        return None
    return {**before, "Item": item}


def _item(pieces: list[bytes]) -> Item | None:
    __traceback_hide__ = True
    size = len(pieces) // _PIECES
    if (
        size * _PIECES != len(pieces)
        or pieces[1::_PIECES] != [b":{"] * size
        or pieces[3::_PIECES] != [b":"] * size
        or pieces[5::_PIECES] != [*[b"},"] * (size - 1), b"}}}"]
    ):
        return None
    item: Item = {}
    triples = zip(pieces[::_PIECES], pieces[2::_PIECES], pieces[4::_PIECES], strict=True)
    for name, kind, held in triples:
        if kind == b"B":
            value: Any = binary(held)
        elif kind in {b"S", b"N"} and (value := held.decode()).isprintable():
            pass  # What is not may have to be written otherwise in JSON.
        else:
            return None
        item[name.decode()] = {kind.decode(): value}
    return item if len(item) == size and "".join(item).isprintable() else None
