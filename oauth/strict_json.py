"""A strict parser of JSON from strangers. Pure.

JSON is accepted only where every parser reads it alike: Python's accepts more than RFC 8259 (`NaN`,
`Infinity`, UTF-16), and of members with the same name it takes the last, where others take the
first.
"""

import json
from typing import Any, NoReturn


class InvalidJSON(ValueError):
    """A text is not JSON, or two parsers might read it differently."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a text. Raises InvalidJSON."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")  # RFC 8259 section 8.1: UTF-8 alone
        return json.loads(
            text, parse_constant=_reject_constant, object_pairs_hook=_reject_duplicates
        )
    except (RecursionError, ValueError):
        raise InvalidJSON from None


def _reject_constant(name: str) -> NoReturn:
    raise InvalidJSON


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidJSON
    return members
