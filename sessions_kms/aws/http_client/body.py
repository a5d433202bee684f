"""The body of a response: of a known length, or in chunks (RFC 9112, 7.1).

Bytes enter as they come; what follows the body is returned. Extensions and trailers of chunks are
checked, bounded and dropped, as DynamoDB says nothing by them. No I/O.
"""

import re
from collections.abc import Callable
from typing import Final

from sessions_kms.http.fields import are_field_lines

BODY_MAX: Final = 4 * 1024 * 1024  # bytes: a page of 1 MB, its binary values in base64, and room
LINE_MAX: Final = 256  # bytes
FRAMING_MAX: Final = 256 * 1024  # bytes of one response that are lines, and not its body

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?")


class InvalidResponse(Exception):
    """A response is not whole, or not the one that was sent. Its message quotes nothing of it."""


class SizedBody:
    """A body of so many bytes."""

    __slots__ = ("_pieces", "remaining")

    def __init__(self, length: int) -> None:
        if length > BODY_MAX:
            raise InvalidResponse("The response is too long.")
        self.remaining = length
        self._pieces: list[bytes] = []

    def receive_data(self, data: bytes) -> bytes | None:
        """Take bytes; return what comes after the body, or None while it is not whole."""
        __traceback_hide__ = True
        remaining = self.remaining
        if len(data) < remaining:
            self._pieces.append(data)
            self.remaining -= len(data)
            return None
        self._pieces.append(data[:remaining])
        self.remaining = 0
        return data[remaining:]

    def content(self) -> bytes:
        """Return the body, once it is whole."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class ChunkedBody:
    """Chunks up to the last one, of no length, and its trailers."""

    __slots__ = ("_body", "_buffer", "_framing", "_read", "_remaining")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body = bytearray()
        self._remaining = 0  # bytes of the current chunk
        self._framing = 0
        self._read: Callable[[], bool] | None = self._read_size  # returns whether it progressed

    def receive_data(self, data: bytes) -> bytes | None:
        """Take bytes; return what comes after the body, or None while it is not whole.

        Raises InvalidResponse.
        """
        __traceback_hide__ = True
        self._buffer += data
        while self._read is not None:
            if not self._read():
                return None
        return bytes(self._buffer)

    def content(self) -> bytes:
        """Return the body, once it is whole."""
        return bytes(self._body)

    def _read_size(self) -> bool:
        if (line := self._take_line()) is None:
            return False
        found = _SIZE.fullmatch(line)
        if found is None:
            raise InvalidResponse("The size of a chunk is invalid.")
        self._remaining = int(found[1], 16)
        if len(self._body) + self._remaining > BODY_MAX:
            raise InvalidResponse("The response is too long.")
        self._read = self._read_data if self._remaining else self._read_trailer
        return True

    def _read_data(self) -> bool:
        piece = self._buffer[: self._remaining]
        del self._buffer[: self._remaining]
        self._body += piece
        self._remaining -= len(piece)
        if self._remaining:
            return False
        self._read = self._read_end
        return True

    def _read_end(self) -> bool:
        if (line := self._take_line()) is None:
            return False
        if line:
            raise InvalidResponse("A chunk is longer than its size.")
        self._read = self._read_size
        return True

    def _read_trailer(self) -> bool:
        __traceback_hide__ = True
        if (line := self._take_line()) is None:
            return False
        if not line:
            self._read = None
        elif not are_field_lines(line.decode("latin-1") + "\r\n"):
            raise InvalidResponse("A trailer of the response is not HTTP/1.1.")
        return True

    def _take_line(self) -> bytes | None:
        """Return the next line without its end; None while it has not come."""
        __traceback_hide__ = True
        end = self._buffer.find(b"\r\n", 0, LINE_MAX + 2)
        if end < 0:
            if len(self._buffer) > LINE_MAX + 1:
                raise InvalidResponse("A line between the chunks is too long.")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._framing += end + 2
        if self._framing > FRAMING_MAX:
            raise InvalidResponse("There is too much between the chunks.")
        return line
