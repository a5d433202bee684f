r"""Decodes a Cookie header as Django does, in time that is linear in its length.

Django leaves quoted values to Python's `http.cookies`. Before 3.11.10 and 3.12.6 that takes time
quadratic in their length: minutes for a header of 64 KB (CVE-2024-7592). The result is the same
here as in the releases that are fixed.
https://github.com/python/cpython/issues/123067
"""

from __future__ import annotations

import re

# In a quoted value: a backslash before three octal digits stands for that character, a backslash
# before any other one for the character itself.
ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")


def decode_header(header: str) -> dict[str, str]:
    """Return the values of a Cookie header by their names; of one that repeats, the last.

    A pair without `=` is the value of an empty name, as it is to Django.
    """
    __traceback_hide__ = True
    cookies: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if not equals:
            name, value = "", pair
        name, value = name.strip(), value.strip()
        if name or value:
            cookies[name] = decode_value(value)
    return cookies


def decode_value(value: str) -> str:
    """Return a value without its quotation marks and escapes, if it is quoted."""
    __traceback_hide__ = True
    if len(value) < 2 or not (value[0] == value[-1] == '"'):
        return value
    return ESCAPED.sub(_unescape, value[1:-1])


def _unescape(match: re.Match[str]) -> str:
    __traceback_hide__ = True
    octal, character = match.groups()
    return chr(int(octal, 8)) if octal else str(character)
