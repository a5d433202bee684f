"""JSON in which all parsers find the same: I-JSON (RFC 7493) within bounds.

UTF-8 without a byte order mark, no member twice in an object, no lone surrogate; bounded size,
depth and length of numbers. The noncharacters that the RFC forbids as well are accepted: no parser
reads them as anything else. Everything here takes linear time.
"""

import json
import re
from typing import Any

TEXT_MAX = 1024 * 1024  # bytes of a request's message
DEPTH_MAX = 64  # objects and arrays in each other
NUMBER_MAX = 64  # characters
ARRAYS_MAX = 50_000  # While Python reads those, no other thread runs.
# Bytes for each object, of the largest text: the garbage collector visits all objects, and no other
# thread runs meanwhile.
BYTES_PER_OBJECT = 10

JSONObject = dict[str, Any]

# What counts for levels: quotation marks, and brackets, of which two kinds are made one.
ONE_KIND = bytes.maketrans(b"{}", b"[]")
OTHERS = bytes(sorted(set(range(256)) - set(b'[]{}"')))
MEMBERS_AT_ONCE = 8192  # of one object
SLICE = 64 * 1024  # bytes in which strings are left out at once: other threads run in between
# The escape of a surrogate: a high one with the low one that follows it, if one does.
SURROGATE = re.compile(rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F])?|[c-fC-F])")


class InvalidText(ValueError):
    """A text that is not JSON, or that two parsers may read differently. It repeats none of it."""


class WrittenNumber(float):
    """A number that is not an integer in its plainest form; `text` is how it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        """Take the number as in a JSON text, from which `float` makes the value."""
        self.text = text


def parse(data: bytes, max_size: int = TEXT_MAX) -> Any:
    """Return the value of a JSON text of at most so many bytes. Raises InvalidText.

    Integers are `int`, other numbers `WrittenNumber`.
    """
    if len(data) > max_size:
        raise InvalidText(f"The text is longer than {max_size} bytes.")
    for name, start, most in (
        ("arrays", b"[", ARRAYS_MAX),
        ("objects", b"{", max_size // BYTES_PER_OBJECT),
    ):
        if data.count(start) > most and _brackets(data).count(start) > most:
            raise InvalidText(f"The text has more than {most} {name}.")
    if is_too_deep(data):
        raise InvalidText(f"The text has more than {DEPTH_MAX} levels.")
    try:
        value = DECODER.decode(data.decode("utf-8"))
    except InvalidText:
        raise
    except UnicodeError:
        raise InvalidText("The text is not valid UTF-8.") from None
    except ValueError:
        raise InvalidText("The text is not valid JSON.") from None
    if _has_lone_surrogate(data):
        raise InvalidText("The text has half of a character.")
    return value


def write(value: Any) -> str:
    """Return the JSON text of a value from `parse`, in ASCII; its numbers as they were written."""
    if isinstance(value, WrittenNumber):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{write(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


def is_too_deep(data: bytes, levels: int = DEPTH_MAX) -> bool:
    """Return True if brackets outside of strings are nested deeper, as far as the text is valid.

    No step takes long: during one, all other threads of the process wait.
    """
    if data.count(b"[") + data.count(b"{") <= levels:
        return False  # as in nearly every message
    left = _brackets(data).translate(ONE_KIND)
    for _ in range(levels):  # each time without the innermost level
        left, before = left.replace(b"[]", b""), len(left)
        if len(left) == before:
            break
    return b"[]" in left or len(left) > levels


def _has_lone_surrogate(data: bytes) -> bool:
    """Return True if a valid text has the escape of half of a character.

    Other threads run in between, unlike while Python encodes the value.
    """
    unescaped = data.replace(rb"\\", b"  ")  # so that each backslash left starts an escape
    return any(found[1] is None for found in SURROGATE.finditer(unescaped))


def _brackets(data: bytes) -> bytes:
    """Return the brackets outside of strings."""
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = unescaped.translate(None, OTHERS).replace(b'""', b"")
    found, is_inside = [], False
    for start in range(0, len(marks), SLICE):
        parts = marks[start : start + SLICE].split(b'"')
        found += parts[is_inside::2]
        is_inside ^= len(parts) % 2 == 0
    return b"".join(found)


def _read_object(pairs: list[tuple[str, Any]]) -> JSONObject:
    """Return an object. It empties the list, in steps between which other threads run."""
    found: JSONObject = {}
    count = len(pairs)
    while len(pairs) > MEMBERS_AT_ONCE:
        found.update(pairs[:MEMBERS_AT_ONCE])
        del pairs[:MEMBERS_AT_ONCE]
    found.update(pairs)
    if len(found) != count:
        raise InvalidText("An object has a member twice.")
    return found


def _read_integer(text: str) -> int | WrittenNumber:
    return int(text) if len(text) <= NUMBER_MAX and text != "-0" else _read_number(text)


def _read_number(text: str) -> WrittenNumber:
    if len(text) > NUMBER_MAX:
        raise InvalidText(f"A number has more than {NUMBER_MAX} characters.")
    return WrittenNumber(text)


def _reject_constant(text: str) -> None:
    """Reject `NaN` and `Infinity`, which Python would accept."""
    raise InvalidText("The text is not valid JSON.")


DECODER = json.JSONDecoder(
    object_pairs_hook=_read_object,
    parse_int=_read_integer,
    parse_float=_read_number,
    parse_constant=_reject_constant,
)
