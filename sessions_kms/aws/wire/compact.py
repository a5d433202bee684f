"""An answer with an item last, in the very form in which DynamoDB writes it, cut up without JSON.

The text of an answer enters; the JSON before the item leaves, and the item; or None: then it has
another form, or is garbled, and a reader of JSON is to look. Where a body has no backslash, `"`
does nothing but begin and end texts, so of what is between them every second piece is a text.
JSON's own reader has a function asked about each object, and walks over a large value twice.
"""

from itertools import compress
from typing import Final

from sessions_kms.aws.wire import base64_text
from sessions_kms.aws.wire.attribute_values import Item

BEFORE_MAX: Final = 1024  # letters before an item

LONG: Final = 8 * 1024  # letters, from which on a search is faster than to look at each

_BEGINS: Final = '},"Item":{"'
_PIECES: Final = 6  # of a value: its name `":{"` its type `":"` what it holds `"},"`


def with_item_last(text: str) -> tuple[str, Item] | None:
    """Return the JSON of an answer without its item, and that. Raises GarbledAnswer.

    The item is the whole object's own if what is before it is JSON, and has none.
    """
    __traceback_hide__ = True
    if not text.isascii() or "\\" in text:
        return None
    before, begins, after = text.partition(_BEGINS)
    is_one = begins and len(before) <= BEFORE_MAX and '"Item"' not in before
    item = _item(after.split('"') if len(after) < LONG else _pieces(after)) if is_one else None
    return None if item is None else (f"{before}}}}}", item)


def _pieces(text: str) -> list[str]:
    """Return what `text.split('"')` does."""
    __traceback_hide__ = True
    pieces, begin = [], 0
    while (end := text.find('"', begin)) >= 0:
        pieces.append(text[begin:end])
        begin = end + 1
    pieces.append(text[begin:])
    return pieces


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
    if not {"S", "N", "B"}.issuperset(kinds):
        return None
    item: Item = {}
    texts = names.copy()  # that JSON may have to write otherwise
    binary = iter(base64_text.read_each(compress(held, map("B".__eq__, kinds))))
    for name, kind, value in zip(names, kinds, held, strict=True):
        if kind == "B":
            item[name] = {"B": next(binary)}
        else:
            item[name] = {kind: value}
            texts.append(value)
    return item if len(item) == size and "".join(texts).isprintable() else None
