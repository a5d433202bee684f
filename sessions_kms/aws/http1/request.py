"""A request, written. Header pairs and a body enter; bytes leave. Knows no header of AWS."""

import re
from collections.abc import Iterable
from typing import Final

OURS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})

_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_VALUES = re.compile(r"[\x20-\x7e]*")
_PATH = re.compile(r"/[\x21-\x7e]*")


def post(host: str, headers: Iterable[tuple[str, str]], body: bytes, *, path: str = "/") -> bytes:
    """Return a POST request; ``host`` is what its `Host` header says, the port included.

    Raises ValueError for what would be read as something else at the other end: CR, LF, NUL
    and all else that is not printable ASCII, and the headers that this function writes.
    """
    __traceback_hide__ = True  # credentials may stand in the headers
    pairs = list(headers)
    names = [name for name, _ in pairs]
    values = [value for _, value in pairs]
    if not all(names) or (names and not _NAMES.fullmatch("".join(names))):
        raise ValueError("The name of a header is not a token.")
    if not OURS.isdisjoint(map(str.lower, names)):
        raise ValueError("A header that frames the request is not the caller's to set.")
    if not _VALUES.fullmatch(host + "".join(values)) or not _PATH.fullmatch(path):
        raise ValueError("A header or the path holds what is not printable ASCII.")
    lines = [f"{name}: {value}\r\n" for name, value in pairs]
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{''.join(lines)}\r\n".encode("ascii") + body
