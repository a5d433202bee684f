"""A response with one item, in the very form in which DynamoDB writes it, cut up without JSON.

The text of a response enters; the JSON beside the item leaves, and the item. None leaves for any
other form, which JSON's reader has to read. Where a body has no backslash, `"` does nothing but
begin and end texts, so every second piece between them is a text. JSON's own reader calls a
function for each object, and walks over a large value twice.

Large base64 values are decoded by pybase64, since Python's own decoder takes longer for them than
the rest of a call. Both accept and return the same.
"""

from binascii import a2b_base64
from collections.abc import Iterable
from functools import lru_cache, partial
from itertools import compress
from typing import Any, Final, NamedTuple

import pybase64

from sessions_kms.aws.http_client.body import InvalidResponse

_decode_large = partial(pybase64.b64decode, validate=True)

Item = dict[str, dict[str, Any]]

LARGE: Final = 512  # letters of base64, below which Python's own is faster
BESIDE_MAX: Final = 1024  # letters before or after an item
AROUND_MAX: Final = 2048  # letters of an item that are none of its values

LONG: Final = 4 * 1024  # letters, more of which are searched, and not looked at one by one

# Letters of a value, enough for a wrapped data key. Longer values are left out of an item that a
# write replaced: nobody needs them, and to decode a ciphertext takes long.
OLD_MAX: Final = 8 * 1024

_BEGINS: Final = '},"Item":{"'
_OLD_BEGINS: Final = '{"Attributes":{"'
_OLD_ENDS: Final = '"}},"ConsumedCapacity":'
_PIECES: Final = 6  # of a value: its name `":{"` its type `":"` what it holds `"},"`


def with_item_last(text: str) -> tuple[str, Item] | None:
    """Return the JSON of a response without its `Item`, and the item. Raises InvalidResponse.

    The item is the whole object's own if what is before it is JSON, and has none.
    """
    __traceback_hide__ = True
    if not text.isascii() or "\\" in text:
        return None
    before, begins, after = text.partition(_BEGINS)
    is_one = begins and len(before) <= BESIDE_MAX and '"Item"' not in before
    item = _item(_pieces(after)) if is_one else None
    return None if item is None else (f"{before}}}}}", item)


def with_old_item_first(text: str) -> tuple[str, Item] | None:
    """Return the JSON of a response without its `Attributes`, and their short values.

    Raises InvalidResponse.
    """
    __traceback_hide__ = True
    if not text.startswith(_OLD_BEGINS) or not text.isascii() or "\\" in text:
        return None
    old, ends, after = text.removeprefix(_OLD_BEGINS).rpartition(_OLD_ENDS)
    is_one = ends and len(after) <= BESIDE_MAX and '"Attributes"' not in after
    item = _item(_pieces(f'{old}"}}}}}}'), at_most=OLD_MAX) if is_one else None
    return None if item is None else (f'{{"ConsumedCapacity":{after}', item)


def _pieces(text: str) -> list[str]:
    """Return what `text.split('"')` does."""
    __traceback_hide__ = True
    if len(text) <= LONG:
        return text.split('"')
    pieces: list[str] = []
    begin = 0
    while (until := begin + LONG) < len(text) and (end := text.find('"', until)) >= 0:
        *whole, cut = text[begin:until].split('"')
        pieces += [*whole, text[until - len(cut) : end]]
        begin = end + 1
    return pieces + text[begin:].split('"')


def _item(pieces: list[str], at_most: int | None = None) -> Item | None:
    """Return an item, without values of more letters than that."""
    __traceback_hide__ = True
    held: list[Any] = pieces[4::_PIECES]
    del pieces[4::_PIECES]
    around = '"'.join(pieces)
    try:
        form = _form(around) if len(around) <= AROUND_MAX else None
    except _OtherForm:
        return None
    if form is None or len(form.names) != len(held):
        return None
    if not "".join(compress(held, form.are_texts)).isprintable():
        return None  # JSON may have to write it otherwise.
    if at_most is not None:
        return _short_values(form, held, at_most)
    binary = decode_each(compress(held, form.are_binary))
    for number, value in zip(form.binary, binary, strict=True):
        held[number] = value
    named = zip(form.names, form.kinds, held, strict=True)
    return {name: {kind: value} for name, kind, value in named}


def _short_values(form: "_Form", held: list[str], at_most: int) -> Item:
    __traceback_hide__ = True
    named = zip(form.names, form.kinds, held, strict=True)
    return {
        name: {kind: decode_base64(value) if kind == "B" else value}
        for name, kind, value in named
        if len(value) <= at_most
    }


class _OtherForm(Exception):
    """JSON's reader has to read it. Raised, since a result would be cached with values in it."""


class _Form(NamedTuple):
    """The names of an item, and the types of what stands under them."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    are_texts: tuple[bool, ...]
    are_binary: tuple[bool, ...]
    binary: tuple[int, ...]  # their numbers


@lru_cache(maxsize=64)  # Items have a few forms.
def _form(around: str) -> _Form:
    """Return the form of an item that is given without its values. Raises _OtherForm."""
    __traceback_hide__ = True
    pieces = around.split('"')
    step = _PIECES - 1
    names, kinds = pieces[::step], pieces[2::step]
    size = len(kinds)
    if (
        len(pieces) != size * step
        or pieces[1::step] != [":{"] * size
        or pieces[3::step] != [":"] * size
        or pieces[4::step] != [*["},"] * (size - 1), "}}}"]
        or not {"S", "N", "B"}.issuperset(kinds)
        or len(set(names)) != size
        or not "".join(names).isprintable()
    ):
        raise _OtherForm
    are_binary = tuple(kind == "B" for kind in kinds)
    return _Form(
        names=tuple(names),
        kinds=tuple(kinds),
        are_texts=tuple(not each for each in are_binary),
        are_binary=are_binary,
        binary=tuple(number for number, each in enumerate(are_binary) if each),
    )


def decode_base64(text: str) -> bytes:
    """Return the bytes of a base64 text (RFC 4648, section 4). Raises InvalidResponse."""
    __traceback_hide__ = True
    if len(text) % 4 == 0 and not text.endswith("==="):  # Before 3.12, Python takes a needless `=`.
        try:
            is_small = len(text) < LARGE
            return a2b_base64(text, strict_mode=True) if is_small else _decode_large(text)
        except ValueError:
            pass
    raise InvalidResponse  # Outside the handler, so that no chain leads to the text.


def decode_each(texts: Iterable[str]) -> list[bytes]:
    """Decode texts as `decode_base64` does, without a call for each."""
    __traceback_hide__ = True
    found = []
    try:
        for text in texts:
            if len(text) % 4 or text.endswith("==="):
                break
            is_small = len(text) < LARGE
            found.append(a2b_base64(text, strict_mode=True) if is_small else _decode_large(text))
        else:
            return found
    except ValueError:
        pass
    raise InvalidResponse
