"""Base64 (RFC 4648, section 4): bytes enter and a text leaves, or the other way round.

Large ones go by pybase64 where it is installed (the extra `fast`): Python's own takes longer for
64 KB than all else of a call. Both take and give the same.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from functools import partial
from typing import Final

from sessions_kms.aws.http1.garbled import GarbledAnswer

try:
    import pybase64
except ImportError:
    pybase64 = None  # type: ignore[assignment]
    _read_large = partial(a2b_base64, strict_mode=True)
else:
    _read_large = partial(pybase64.b64decode, validate=True)

LARGE: Final = 512  # bytes or letters, below which Python's own is the faster one


def written(data: bytes | bytearray) -> str:
    """Return the text that stands for bytes."""
    if pybase64 is not None and len(data) >= LARGE:
        return pybase64.b64encode_as_string(data)
    return b2a_base64(data, newline=False).decode()


def read(text: str) -> bytes:
    """Return the bytes that a text stands for. Raises GarbledAnswer where it is not base64."""
    __traceback_hide__ = True
    if len(text) % 4 == 0 and not text.endswith("==="):  # Before 3.12, Python takes a needless `=`.
        try:
            is_small = len(text) < LARGE
            return a2b_base64(text, strict_mode=True) if is_small else _read_large(text)
        except ValueError:
            pass
    raise GarbledAnswer  # Outside the handler, so that no chain leads to the text.


def read_each(texts: Iterable[str]) -> list[bytes]:
    """Return the bytes that texts stand for, each read as `read` does, without a call for each."""
    __traceback_hide__ = True
    found = []
    try:
        for text in texts:
            if len(text) % 4 or text.endswith("==="):
                break
            is_small = len(text) < LARGE
            found.append(a2b_base64(text, strict_mode=True) if is_small else _read_large(text))
        else:
            return found
    except ValueError:
        pass
    raise GarbledAnswer
