"""JSON that every parser reads alike: text enters, a value leaves.

Python's parser takes more than RFC 8259 does (`NaN`, `Infinity`, UTF-16), and the last of members
with one name, where others take the first: what somebody has checked may be something else here.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


class InvalidJSON(ValueError):
    """A text is not JSON, or two parsers might read it differently."""


def loads(text: str | bytes) -> Any:
    """Return the value of a text. Raises InvalidJSON."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")  # RFC 8259 section 8.1: UTF-8 alone
        return json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_members)
    except (RecursionError, ValueError):
        raise InvalidJSON from None


def _reject_constant(name: str) -> NoReturn:
    raise InvalidJSON


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidJSON
    return members
