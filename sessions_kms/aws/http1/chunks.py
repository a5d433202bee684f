"""A body in chunks (RFC 9112, 7.1). Its bytes enter as they come; what follows it is given back.

Extensions and trailers are read, bounded, and dropped: DynamoDB says nothing by them.
"""

import re
from collections.abc import Callable
from typing import Final

from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.http1.head import are_fields
from sessions_kms.aws.http1.sized import BODY_MAX

LINE_MAX: Final = 256  # bytes
FRAMING_MAX: Final = 256 * 1024  # bytes of one answer that are lines, and not its body

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?")


class Chunks:
    """Chunks up to the last one, of no length, and its trailers."""

    __slots__ = ("_body", "_framing", "_held", "_left", "_read")

    def __init__(self) -> None:
        self._held = bytearray()
        self._body = bytearray()
        self._left = 0  # bytes of the chunk under way
        self._framing = 0
        self._read: Callable[[], bool] | None = self._read_size  # tells whether it got on

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; return what comes after the body, or None while it is not whole.

        Raises GarbledAnswer.
        """
        __traceback_hide__ = True
        self._held += data
        while self._read is not None:
            if not self._read():
                return None
        return bytes(self._held)

    def content(self) -> bytes:
        """Return the body, once it is whole."""
        return bytes(self._body)

    def _read_size(self) -> bool:
        if (line := self._line()) is None:
            return False
        found = _SIZE.fullmatch(line)
        if found is None:
            raise GarbledAnswer("The size of a chunk cannot be read.")
        self._left = int(found[1], 16)
        if len(self._body) + self._left > BODY_MAX:
            raise GarbledAnswer("The answer is too long.")
        self._read = self._read_data if self._left else self._read_trailer
        return True

    def _read_data(self) -> bool:
        piece = self._held[: self._left]
        del self._held[: self._left]
        self._body += piece
        self._left -= len(piece)
        if self._left:
            return False
        self._read = self._read_end
        return True

    def _read_end(self) -> bool:
        if (line := self._line()) is None:
            return False
        if line:
            raise GarbledAnswer("A chunk is longer than it said.")
        self._read = self._read_size
        return True

    def _read_trailer(self) -> bool:
        __traceback_hide__ = True
        if (line := self._line()) is None:
            return False
        if not line:
            self._read = None
        elif not are_fields(line.decode("latin-1") + "\r\n"):
            raise GarbledAnswer("A trailer of the answer is not HTTP/1.1.")
        return True

    def _line(self) -> bytes | None:
        """Return the next line without its end; None while it has not come."""
        __traceback_hide__ = True
        end = self._held.find(b"\r\n", 0, LINE_MAX + 2)
        if end < 0:
            if len(self._held) > LINE_MAX + 1:
                raise GarbledAnswer("A line between the chunks is too long.")
            return None
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        self._framing += end + 2
        if self._framing > FRAMING_MAX:
            raise GarbledAnswer("There is too much between the chunks.")
        return line
