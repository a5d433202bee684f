"""An answer with an item last, in the very form in which DynamoDB writes it, cut up without JSON.

The body of an answer enters; the JSON before the item leaves, and the item; or None: then it has
another form, or is garbled, and a reader of JSON is to look. Where a body has no backslash, `"`
does nothing but begin and end texts, so of what is between them every second piece is a text.
JSON's own reader has a function asked about each object, and walks over a large value twice.
"""

from typing import Final

from sessions_kms.aws.wire.attribute_values import Item, Value, binary

BEFORE_MAX: Final = 1024  # letters before an item

_BEGINS: Final = '},"Item":{"'
_PIECES: Final = 6  # of a value: its name `":{"` its type `":"` what it holds `"},"`


def with_item_last(body: bytes) -> tuple[str, Item] | None:
    """Return the JSON of a body without its item, and that. Raises GarbledAnswer.

    The item is the whole object's own if what is before it is JSON, and has none.
    """
    __traceback_hide__ = True
    if not body.isascii() or b"\\" in body:
        return None
    before, begins, after = body.decode().partition(_BEGINS)
    is_one = begins and len(before) <= BEFORE_MAX and '"Item"' not in before
    item = _item(after.split('"')) if is_one else None
    return None if item is None else (f"{before}}}}}", item)


def _item(pieces: list[str]) -> Item | None:
    __traceback_hide__ = True
    names, kinds, held = pieces[::_PIECES], pieces[2::_PIECES], pieces[4::_PIECES]
    size = len(held)
    if (
        len(pieces) != size * _PIECES
        or pieces[1::_PIECES] != [":{"] * size
        or pieces[3::_PIECES] != [":"] * size
        or pieces[5::_PIECES] != [*["},"] * (size - 1), "}}}"]
    ):
        return None
    values = list(map(_value, kinds, held))
    item = dict(zip(names, values, strict=True))
    # A name that came twice, or what JSON may have to write otherwise, is another reader's.
    is_plain = len(item) == size and None not in values and "".join(names).isprintable()
    return item if is_plain else None  # type: ignore[return-value]


def _value(kind: str, held: str) -> Value | None:
    __traceback_hide__ = True
    if kind == "B":
        return {"B": binary(held)}
    return {kind: held} if kind in {"S", "N"} and held.isprintable() else None
