"""The syntax of a request: its start, its first line and its head. No I/O.

httptools rejects syntax that programs parse differently (whitespace before a colon, a line that
ends in LF, folded lines, two lengths). This module rejects more: httptools skips any number of CR
and LF before a request, and accepts RTSP and ICE as HTTP and several spaces as one. So the received
bytes are split at the end of each request, and the first line of the next one is checked here
before httptools gets it (RFC 9112 sections 2.2 and 3).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

HEAD_SIZE = 64 * 1024  # bytes of a request line with its header fields
HEAD_FIELDS = 200
TARGET_SIZE = 24 * 1024  # bytes; a gateway's path and query are at most 20 KB
PATH_SIZE = 8 * 1024  # bytes
FIELD_SIZE = 16 * 1024  # bytes of a field's name and values, in any number of lines
CONTENT_TYPE_SIZE = 1024  # bytes; Django takes time quadratic in its length
# Fields without their own limit: sibling sites can set cookies, which users cannot prevent.
UNLIMITED = frozenset({b"cookie"})
LENGTH_DIGITS = 18
FRAMING_HEADERS = frozenset({b"content-length", b"transfer-encoding"})

Headers = Sequence[tuple[bytes, bytes]]


class BadRequest(Exception):
    """A request that the server answers itself, with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def check_head(version: str, target: bytes, headers: Headers) -> None:
    """Raise BadRequest unless all servers and proxies read the head in the same way.

    The number of fields was checked earlier, since each takes memory.
    """
    if version not in {"1.1", "1.0"}:
        raise BadRequest(505, "This version of HTTP is not supported here.")
    _check_target(target)
    size = sum([len(name) + len(value) + 4 for name, value in headers])
    if len(target) + size > HEAD_SIZE:
        raise head_too_large()
    if rejection := oversized_field(headers):
        raise rejection
    names = [name for name, _ in headers]
    _check_host(version, names)
    _check_framing(version, names, headers)


def head_too_large() -> BadRequest:
    """Return the error for a head that exceeds a limit (RFC 6585 section 5)."""
    return BadRequest(431, "The request's header fields are too large, or too many.")


def oversized_field(headers: Headers) -> BadRequest | None:
    """Return the error for a field that exceeds its limit, or None.

    Names are in lower case. The lines of a field count together: Django joins them by commas.
    """
    lengths = [len(value) for name, value in headers if name == b"content-type"]
    if sum(lengths) + len(lengths) - 1 > CONTENT_TYPE_SIZE:
        return BadRequest(400, "The request's Content-Type is too long.")
    if sum([len(name) + len(value) for name, value in headers]) <= FIELD_SIZE:
        return None
    sizes: Counter[bytes] = Counter()
    for name, value in headers:
        sizes[name] += len(value)
    if any(len(name) + sizes[name] > FIELD_SIZE for name in sizes.keys() - UNLIMITED):
        return head_too_large()
    return None


def has_body(headers: Headers) -> bool:
    """Return True if a body is announced."""
    return any(name in FRAMING_HEADERS for name, _ in headers)


def _check_target(target: bytes) -> None:
    """Accept only a path: a whole URL may contradict `Host`; `*` and CONNECT have no path."""
    if len(target) > TARGET_SIZE or len(target.partition(b"?")[0]) > PATH_SIZE:
        raise BadRequest(414, "The request's address is too long.")
    if not target.startswith(b"/") or target.find(b"#") >= 0:  # ten times as fast as `in`
        raise BadRequest(400, "The request's target must be a path.")


def _check_host(version: str, names: Sequence[bytes]) -> None:
    """Require one `Host`, as RFC 9112 section 3.2 does; HTTP/1.0 has none."""
    count = names.count(b"host")
    if count > 1 or (count == 0 and version == "1.1"):
        raise BadRequest(400, "The request must have one Host header.")


def _check_framing(version: str, names: Sequence[bytes], headers: Headers) -> None:
    """Require a body that is delimited in one way (RFC 9112 sections 6.1 to 6.3)."""
    lengths, codings = names.count(b"content-length"), names.count(b"transfer-encoding")
    if not lengths and not codings:
        return
    value = next(value for name, value in headers if name in FRAMING_HEADERS)
    if lengths:
        is_valid = value.isdigit() and len(value) <= LENGTH_DIGITS
    else:
        is_valid = value.lower() == b"chunked" and version == "1.1"
    if lengths + codings > 1 or not is_valid:
        raise BadRequest(400, "The request's body is not delimited in one way.")


# One empty line may come first: some clients send one after a body. HTTP/0.9 has no version; it is
# rejected like other versions.
REQUEST_LINE = re.compile(rb"(?:\r\n)?[!-~]+ [!-~]+(?: HTTP/[0-9]\.[0-9])?\r\n")
HEAD_END = b"\r\n\r\n"
EMPTY_LINE = b"\r\n"


class RequestLines:
    """The bytes of one connection's client, cut into heads and bodies."""

    def __init__(self) -> None:
        self._part: _Head | _SizedBody | _ChunkedBody | None = None  # None before a head

    @property
    def expects_request(self) -> bool:
        """Whether a request may start in the last piece."""
        return self._part is None or isinstance(self._part, _Head)

    def pieces(self, data: bytes) -> Iterable[bytes]:
        """Return the received bytes in pieces; each request starts with a piece. Raises BadRequest.

        Call `begin_body` before the piece after a head is requested.
        """
        is_head = self._part is None and data.find(HEAD_END) == len(data) - len(HEAD_END)
        return (data,) if is_head and REQUEST_LINE.match(data) else self._split(data)

    def _split(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(data):
            part = self._part = self._part or _Head()
            end = part.end(data, start)
            yield data[start:end]
            if end is None:
                return
            start = end
            if self._part is part:  # otherwise a body has started
                self._part = None

    def begin_body(self, headers: Headers) -> None:
        """Read from the headers which body follows the head that ended with the last piece."""
        found = next((pair for pair in headers if pair[0] in FRAMING_HEADERS), None)
        if found is None:
            return
        name, value = found
        if name == b"transfer-encoding":
            self._part = _ChunkedBody()
        elif (length := int(value)) > 0:
            self._part = _SizedBody(length)


# The parts: `end` returns where one ends in the bytes from `start` on; None if it has not ended.


class _Head:
    def __init__(self) -> None:
        self._start = bytearray()  # received part of the first line, and an empty line before it
        self._last = b""  # the last bytes received, which may be the start of HEAD_END
        self._is_checked = False

    def end(self, data: bytes, start: int) -> int | None:
        if not self._is_checked:
            self._check(data, start)
        if self._last:
            across = (self._last + data[start : start + len(HEAD_END) - 1]).find(HEAD_END)
            if across >= 0:
                return start + across + len(HEAD_END) - len(self._last)
        found = data.find(HEAD_END, start)
        if found >= 0:
            return found + len(HEAD_END)
        self._last = (self._last + data[max(start, len(data) - len(HEAD_END) + 1) :])[
            1 - len(HEAD_END) :
        ]
        return None

    def _check(self, data: bytes, start: int) -> None:
        """Check the first line once its end has arrived. Reads each byte of it at most twice."""
        self._start += data[start:]
        if data.find(b"\n", start) < 0:
            return
        if REQUEST_LINE.match(self._start):
            self._is_checked = True
            self._start.clear()
        elif self._start.removeprefix(EMPTY_LINE).find(b"\n") >= 0:
            raise BadRequest(400, "The request does not begin with a line of HTTP.")


class _SizedBody:
    def __init__(self, length: int) -> None:
        self._left = length

    def end(self, data: bytes, start: int) -> int | None:
        if self._left <= len(data) - start:
            return start + self._left
        self._left -= len(data) - start
        return None


class _ChunkedBody:
    def __init__(self) -> None:
        self._left = 0  # remaining bytes of a chunk, including its CRLF
        self._line = b""  # received part of a chunk size or trailer line
        self._in_trailers = False  # after the last chunk

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
            if not self._in_trailers:
                self._begin_chunk(line)
            elif line == EMPTY_LINE:
                return start

    def _begin_chunk(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0], 16)  # int() strips CRLF
        except ValueError:
            size = 0  # httptools rejects it
        self._in_trailers = size == 0
        self._left = size + len(EMPTY_LINE) if size > 0 else 0
