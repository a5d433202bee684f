"""A request, written. Header pairs and a body enter; bytes leave. Knows no header of AWS.

What many requests have in common, their opening, is looked at and written once.
"""

import re
from collections.abc import Iterable
from typing import Final

OURS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})

_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_VALUES = re.compile(r"[\x20-\x7e]*")
_PATH = re.compile(r"/[\x21-\x7e]*")


def opening(host: str, headers: Iterable[tuple[str, str]], *, path: str = "/") -> str:
    """Return how a POST request begins, up to the value of its last header, which goes on.

    ``host`` is what its `Host` header says, the port included. Raises ValueError for what would
    be read as something else at the other end: CR, LF, NUL and all else that is not printable
    ASCII, and the headers that are written here.
    """
    __traceback_hide__ = True  # credentials may stand in the headers
    if not _VALUES.fullmatch(host) or not _PATH.fullmatch(path):
        raise ValueError("The host's header or the path holds what is not printable ASCII.")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", *(_line(*each) for each in headers)]
    return "\r\n".join(lines)


def post(opened: str, value: str, body: bytes) -> bytes:
    """Return a whole request: its opening, the rest of that last value, a body.

    Raises ValueError as `opening` does.
    """
    __traceback_hide__ = True
    if not _VALUES.fullmatch(value):
        raise ValueError("A header holds what is not printable ASCII.")
    return f"{opened}{value}\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii") + body


def _line(name: str, value: str) -> str:
    __traceback_hide__ = True
    if not _NAMES.fullmatch(name):
        raise ValueError("The name of a header is not a token.")
    if name.lower() in OURS:
        raise ValueError("A header that frames the request is not the caller's to set.")
    if not _VALUES.fullmatch(value):
        raise ValueError("A header holds what is not printable ASCII.")
    return f"{name}: {value}"
