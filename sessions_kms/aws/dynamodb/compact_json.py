"""Parses responses with one item in DynamoDB's usual form faster than a JSON parser.

Takes the text of a response; returns the JSON without the item, and the item. It returns None for
any other form, which the JSON parser then parses: that calls a function for each object, and scans
large values twice. Each item that it parses is the pattern for later items with the same
attributes. In a text without backslashes, `"` only begins and ends strings.

Large base64 values are decoded by pybase64, since Python's own decoder takes longer for them than
the rest of a call. Both accept and return the same.
"""

import re
from binascii import a2b_base64
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

import pybase64

from sessions_kms.aws.http_client.body import InvalidResponse

Item = dict[str, dict[str, Any]]

LARGE: Final = 160  # characters of base64, below which Python's own decoder is faster
BESIDE_MAX: Final = 1024  # characters before or after an item

# Characters of a value, enough for a wrapped data key. Longer values are left out of an item that a
# write replaced: they are not needed, and decoding a ciphertext takes long.
OLD_MAX: Final = 8 * 1024

_BEGINS: Final = '},"Item":'
_OLD_BEGINS: Final = '{"Attributes":'
_OLD_ENDS: Final = ',"ConsumedCapacity":'

FORMS_MAX: Final = 64  # of one process, which needs only a few
NAMES_MAX: Final = 1024  # characters of an item's attribute names
# Strings with only one JSON encoding; base64 is checked when it is decoded.
_VALUES: Final = {"S": r"[ !#-\[\]-~]*+", "N": r"[ !#-\[\]-~]*+", "B": '[^"]*+'}


class ItemForm:
    """Attributes and their types, in the order in which DynamoDB writes them.

    A pattern matches all values but one, the longest binary one of the first item: that may have
    many thousand characters, and ends at the next `"`.
    """

    def __init__(self, item: Item) -> None:
        """Create the form of an item that has a binary value."""
        self.attributes = _attributes_of(item)
        # Not a text, which would have to be checked character by character.
        sizes = [len(item[name]["B"]) if kind == "B" else -1 for name, kind in self.attributes]
        at = sizes.index(max(sizes))
        before, long, after = self.attributes[:at], self.attributes[at], self.attributes[at + 1 :]
        self._before = re.compile(
            "".join([r"\{", *(f"{_field(*each)}," for each in before), _opening(*long)])
        )
        self._after = re.compile("".join([r'"\}', *(f",{_field(*each)}" for each in after), r"\}"]))

    def read(self, text: str, at: int, longest: int | None = None) -> tuple[Item, int] | None:
        """Return the item that begins at ``at``, and its end; None if it has another form.

        Values of more characters than ``longest`` are left out. Raises InvalidResponse.
        """
        __traceback_hide__ = True
        before = self._before.match(text, at)
        if before is None:
            return None
        begin = before.end()
        end = text.find('"', begin)
        after = self._after.match(text, end) if end >= 0 else None
        if after is None:
            return None
        values = [*before.groups(), text[begin:end], *after.groups()]
        item = {
            name: {kind: decode_base64(value) if kind == "B" else value}
            for (name, kind), value in zip(self.attributes, values, strict=True)
            if longest is None or len(value) <= longest
        }
        return item, after.end()


def _opening(name: str, kind: str) -> str:
    return rf'"{re.escape(name)}":\{{"{kind}":"'


def _field(name: str, kind: str) -> str:
    return rf'{_opening(name, kind)}({_VALUES[kind]})"\}}'


def _attributes_of(item: Item) -> tuple[tuple[str, str], ...]:
    return tuple((name, kind) for name, value in item.items() for kind in value)


class ItemForms:
    """The known forms, shared by all threads; the most recently used one is first."""

    def __init__(self) -> None:
        self._forms: tuple[ItemForm, ...] = ()

    def read(self, text: str, at: int, longest: int | None = None) -> tuple[Item, int] | None:
        """Return an item as `ItemForm.read` does; None if it has no known form."""
        __traceback_hide__ = True
        for form in self._forms:
            if (found := form.read(text, at, longest)) is not None:
                if form is not self._forms[0]:
                    self._forms = (form, *(each for each in self._forms if each is not form))
                return found
        return None

    def learn(self, item: Item) -> None:
        """Add the form of an item, if it has only texts, numbers and bytes."""
        attributes = _attributes_of(item)
        names = "".join(item)
        if (
            len(self._forms) < FORMS_MAX
            and len(names) <= NAMES_MAX
            and quoted(names) == f'"{names}"'
            and {"B"} <= {kind for _, kind in attributes} <= _VALUES.keys()
            and all(form.attributes != attributes for form in self._forms)
        ):
            self._forms = (*self._forms, ItemForm(item))


forms: Final = ItemForms()


def with_item_last(text: str) -> tuple[str, Item] | None:
    """Return the JSON of a response without its `Item`, and the item. Raises InvalidResponse.

    The item is a member of the outermost object if the text before it is JSON without an `Item`.
    """
    __traceback_hide__ = True
    at = text.find(_BEGINS)
    if not 0 <= at <= BESIDE_MAX or "\\" in text:
        return None
    before = text[:at]
    found = None if '"Item"' in before else forms.read(text, at + len(_BEGINS))
    if found is None or text[found[1] :] != "}":
        return None
    return f"{before}}}}}", found[0]


def with_old_item_first(text: str) -> tuple[str, Item] | None:
    """Return the JSON of a response without its `Attributes`, and their short values.

    Raises InvalidResponse.
    """
    __traceback_hide__ = True
    if not text.startswith(_OLD_BEGINS) or "\\" in text:
        return None
    found = forms.read(text, len(_OLD_BEGINS), OLD_MAX)
    if found is None or len(text) - found[1] > BESIDE_MAX:
        return None
    item, end = found
    after = text[end:]
    if not after.startswith(_OLD_ENDS) or '"Attributes"' in after:
        return None
    return f"{{{after[1:]}", item


def decode_base64(text: str) -> bytes:
    """Return the bytes of a base64 text (RFC 4648, section 4). Raises InvalidResponse."""
    __traceback_hide__ = True
    if len(text) % 4 == 0 and not text.endswith(
        "==="
    ):  # Before 3.12, Python accepts a surplus `=`.
        try:
            if len(text) < LARGE:
                return a2b_base64(text, strict_mode=True)
            return pybase64.b64decode(text, validate=True)
        except ValueError:
            pass
    raise InvalidResponse  # Outside the handler, so that no chain leads to the text.
