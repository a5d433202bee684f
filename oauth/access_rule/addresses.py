"""Mail addresses and domains in one form each, so that they can be compared letter by letter.

Only the letters of ASCII lose their case: Unicode has some that become an ASCII one, such as
the sign for kelvin. A domain is its A-labels (RFC 5890 section 2.3.2.1), and nothing is mapped:
what is no valid domain as it stands is none (IDNA 2008).
"""

from __future__ import annotations

import string

import idna

ADDRESS_MAX = 320  # characters: RFC 3696, erratum 1690, rounds what RFC 5321 allows
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def lower(text: str) -> str:
    """Return the text with the letters of ASCII in lower case."""
    return text.translate(LOWER)


def domain(text: str) -> str:
    """Return a domain in its one form. Raises ValueError when it is none."""
    if not text or text.endswith("."):
        raise ValueError("This is no domain.")
    # Strict: only "." parts two labels.
    return idna.encode(lower(text), strict=True).decode("ascii")


def address(text: str) -> str:
    """Return a mail address in its one form. Raises ValueError when it is none.

    A local part in quotes, which may hold an "@", is refused: nobody lists such a one.
    """
    local, _, host = text.rpartition("@")
    if not local or len(text) > ADDRESS_MAX or not local.isprintable() or set(local) & set('@" '):
        raise ValueError("This is no mail address.")
    return f"{lower(local)}@{domain(host)}"


def domain_of(normal: str) -> str:
    """Return the domain of an address that is in its one form."""
    return normal.rpartition("@")[2]
