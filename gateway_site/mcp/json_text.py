"""JSON in which all parsers find the same: I-JSON (RFC 7493) within bounds.

UTF-8 without a byte order mark, no member twice in an object, no lone surrogate; bounded size,
depth and length of numbers. The noncharacters that the RFC forbids as well are accepted: no parser
reads them as anything else. Everything here takes linear time.
"""

from __future__ import annotations

import json
import re
from array import array
from itertools import accumulate
from typing import Any

TEXT_MAX = 1024 * 1024  # bytes of a request's message
DEPTH_MAX = 64  # objects and arrays in each other
NUMBER_MAX = 64  # characters

JSONObject = dict[str, Any]

# A string; one that does not end takes all that follows, so that nothing is scanned twice.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
BRACKETS = b"[]{}"
# Each bracket as the signed byte by which it changes the depth.
CHANGES = bytes.maketrans(BRACKETS, b"\x01\xff\x01\xff")
OTHERS = bytes(sorted(set(range(256)) - set(BRACKETS)))
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


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
    if _depth(data) > DEPTH_MAX:
        raise InvalidText(f"The text has more than {DEPTH_MAX} levels.")
    try:
        value = DECODER.decode(data.decode("utf-8"))
        if SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except InvalidText:
        raise
    except UnicodeError:
        raise InvalidText("The text is not valid UTF-8, or has half of a character.") from None
    except ValueError:
        raise InvalidText("The text is not valid JSON.") from None
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


def _depth(data: bytes) -> int:
    """Return how deep the brackets outside of strings are nested, at least up to the maximum."""
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return 0  # as in nearly every message
    changes = array("b", STRING.sub(b"", data).translate(CHANGES, OTHERS))
    return max(accumulate(changes), default=0)


def _read_object(pairs: list[tuple[str, Any]]) -> JSONObject:
    found = dict(pairs)
    if len(found) != len(pairs):
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
