"""The ancestors of a record: the beginnings of the salts of those that it replaced.

A write whose answer was lost is recognised by its salt, in the record that stands or,
once others have written, among that one's ancestors. Knows nothing of records or tables.
"""

from typing import Any, Final

MARK_BYTES: Final = 8  # of a salt
ANCESTORS_MAX: Final = 16


def succeeding(salt: bytes, ancestors: bytes) -> bytes:
    """Return the ancestors of the record that takes the place of one, newest first."""
    return (salt[:MARK_BYTES] + ancestors)[: MARK_BYTES * ANCESTORS_MAX]


def descends(ancestors: bytes, salt: bytes) -> bool:
    """Tell whether a record with this salt is among the ancestors."""
    marks = (ancestors[at : at + MARK_BYTES] for at in range(0, len(ancestors), MARK_BYTES))
    return salt[:MARK_BYTES] in marks


def read(attribute: Any) -> bytes:
    """Return the ancestors that an attribute holds; none where it is malformed or missing."""
    value = attribute.get("B") if isinstance(attribute, dict) else None
    if not isinstance(value, bytes) or len(attribute) != 1:
        return b""
    whole = len(value) % MARK_BYTES == 0 and len(value) <= MARK_BYTES * ANCESTORS_MAX
    return value if whole else b""
