"""The first line of each request, in what a client sends.

httptools skips any number of CR and LF before a request, takes RTSP and ICE for HTTP and several
spaces for one, and tells of none of that. So it is given what comes cut where a request ends, and
the line that begins the next one is checked here (RFC 9112 sections 2.2 and 3). Whatever else is
malformed httptools rejects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from gateway_site.server.heads import DELIMITING, Headers, Refusal

# One empty line may come first: some clients send it behind a body. HTTP/0.9 has no version; it is
# rejected as another version is.
LINE = re.compile(rb"(?:\r\n)?[!-~]+ [!-~]+(?: HTTP/[0-9]\.[0-9])?\r\n")
END = b"\r\n\r\n"  # of a head
EMPTY_LINE = b"\r\n"


class Part(Protocol):
    """A head or a body."""

    def end(self, data: bytes, start: int) -> int | None:
        """Return where the part ends in the bytes from `start` on; None if that is still to come.

        Raises Refusal.
        """


class RequestLines:
    """What one connection's client sends, cut into heads and bodies."""

    def __init__(self) -> None:
        self._part: Part | None = None  # the one under way; None before a head

    @property
    def expects_request(self) -> bool:
        """Whether a request may begin in the piece that was given last."""
        return self._part is None or isinstance(self._part, _Head)

    def pieces(self, data: bytes) -> Iterable[bytes]:
        """Return what came; each request begins with a piece. Raises Refusal.

        `begin_body` is called before the piece after a head is asked for.
        """
        is_head = self._part is None and data.find(END) == len(data) - len(END)
        return (data,) if is_head and LINE.match(data) else self._cut(data)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(data):
            part = self._part = self._part or _Head()
            end = part.end(data, start)
            yield data[start:end]
            if end is None:
                return
            start = end
            if self._part is part:  # else a body has begun
                self._part = None

    def begin_body(self, headers: Headers) -> None:
        """Take the headers of the head that ends with the piece that was yielded last."""
        found = next((pair for pair in headers if pair[0] in DELIMITING), None)
        if found is None:
            return
        name, value = found
        if name == b"transfer-encoding":
            self._part = _Chunks()
        elif (length := int(value)) > 0:
            self._part = _Bytes(length)


class _Head:
    def __init__(self) -> None:
        self._begun = bytearray()  # what came of the first line, and an empty one before it
        self._last = b""  # bytes that came, which may begin the end
        self._is_checked = False

    def end(self, data: bytes, start: int) -> int | None:
        if not self._is_checked:
            self._check(data, start)
        if self._last:
            across = (self._last + data[start : start + len(END) - 1]).find(END)
            if across >= 0:
                return start + across + len(END) - len(self._last)
        found = data.find(END, start)
        if found >= 0:
            return found + len(END)
        self._last = (self._last + data[max(start, len(data) - len(END) + 1) :])[1 - len(END) :]
        return None

    def _check(self, data: bytes, start: int) -> None:
        """Check the first line, if its end is there. Looks at each byte of it twice at most."""
        self._begun += data[start:]
        if data.find(b"\n", start) < 0:
            return
        if LINE.match(self._begun):
            self._is_checked = True
            self._begun.clear()
        elif self._begun.removeprefix(EMPTY_LINE).find(b"\n") >= 0:
            raise Refusal(400, "The request does not begin with a line of HTTP.")


class _Bytes:
    def __init__(self, length: int) -> None:
        self._left = length

    def end(self, data: bytes, start: int) -> int | None:
        if self._left <= len(data) - start:
            return start + self._left
        self._left -= len(data) - start
        return None


class _Chunks:
    def __init__(self) -> None:
        self._left = 0  # bytes of a chunk, with the CRLF behind it
        self._line = b""  # of a size or a trailer, the bytes that came
        self._are_over = False  # only trailers are still to come

    def end(self, data: bytes, start: int) -> int | None:
        while True:
            if self._left > len(data) - start:
                self._left -= len(data) - start
                return None
            start += self._left
            self._left = 0
            end = data.find(b"\n", start) + 1
            if not end:
                self._line += data[start:]
                return None
            line, start = data[start:end], end
            if self._line:
                line, self._line = self._line + line, b""
            if not self._are_over:
                self._begin_chunk(line)
            elif line == EMPTY_LINE:
                return start

    def _begin_chunk(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0], 16)  # which strips CRLF
        except ValueError:
            size = 0  # httptools rejects it
        self._are_over = size == 0
        self._left = size + len(EMPTY_LINE) if size > 0 else 0
