"""A query or a form as OAuth reads it: each parameter once, and an empty one is none.

RFC 6749 section 3.1 and 3.2. Text enters, a dict leaves.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import parse_qsl

from oauth.clients.rules.refusal import INVALID_REQUEST, Refused

FIELDS_MAX = 40


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return names and values in their order. Raises Refused for what is not well encoded."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Refused(INVALID_REQUEST, "The parameters cannot be read.") from None


def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name. Raises Refused where one is repeated."""
    if any(number > 1 for number in Counter(name for name, _ in pairs).values()):
        raise Refused(INVALID_REQUEST, "A parameter is given more than once.")
    return {name: value for name, value in pairs if value}


def required(parameters: dict[str, str], name: str) -> str:
    """Return a parameter. Raises Refused where it is missing."""
    if name not in parameters:
        raise Refused(INVALID_REQUEST, f"The parameter {name} is missing.")
    return parameters[name]
