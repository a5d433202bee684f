"""An answer with an item last, in the very form in which DynamoDB writes it, cut up without JSON.

The body of an answer enters; the JSON before the item leaves, and the item; or None: then it has
another form, or is garbled, and a reader of JSON is to look. Where a body has no backslash, `"`
does nothing but begin and end texts, so of what is between them every second piece is a text.
JSON's own reader has a function asked about each object, and walks over a large value twice.
"""

from typing import Final

from sessions_kms.aws.wire import base64_text
from sessions_kms.aws.wire.attribute_values import Item

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
    item: Item = {}
    texts = names.copy()  # that JSON may have to write otherwise
    for name, kind, value in zip(names, kinds, held, strict=True):
        if kind == "B":
            item[name] = {"B": base64_text.read(value)}
        elif kind in {"S", "N"}:
            item[name] = {kind: value}
            texts.append(value)
        else:
            return None
    return item if len(item) == size and "".join(texts).isprintable() else None
