"""The grammar of header fields (RFC 9110 section 5).

Checks whether names and values, as text or as bytes, are valid. Syntax that programs are known to
parse differently, such as line ends of one byte and folded lines, is invalid.
"""

import re
from collections.abc import Sequence
from typing import Final

TCHARS: Final = r"-!#$%&'*+.^_`|~0-9a-z"  # characters of a name in lower case: section 5.6.2
# `++` and `*+` do not backtrack: text of any length that does not match is rejected at once.
VALUE: Final = r"[\t\x20-\x7e\x80-\xff]*+"  # section 5.5

_NAME = re.compile(rf"[{TCHARS}A-Z]+")
_FIELD_LINES = re.compile(rf"(?:[{TCHARS}A-Z]++:{VALUE}\r\n)*+")
_LOWER_NAMES = re.compile(rf"[{TCHARS}]*".encode())
_VALUES = re.compile(VALUE.encode())


def is_name(name: str) -> bool:
    """Return True for a valid name, in upper or lower case."""
    return _NAME.fullmatch(name) is not None


def is_printable_ascii(value: str) -> bool:
    """Return True for a value of printable ASCII characters."""
    return value.isascii() and value.isprintable()


def are_field_lines(text: str) -> bool:
    """Return True for any number of header lines, each with its line end."""
    return _FIELD_LINES.fullmatch(text) is not None


def are_valid(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return True if no byte of a header can start another one, or end the head.

    Names are in lower case.
    """
    names = [name for name, _ in headers]
    return (
        all(names)
        and _LOWER_NAMES.fullmatch(b"".join(names)) is not None
        and _VALUES.fullmatch(b"".join([value for _, value in headers])) is not None
    )
