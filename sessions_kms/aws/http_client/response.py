"""A response of HTTP/1.1 (RFC 9112), read from the bytes of a connection as they come.

Takes bytes; returns a `Response` when it is complete, and raises InvalidResponse unless it is
exactly one response. Syntax that programs parse differently is rejected: line ends of one byte,
folded lines, a space before the colon. This module does no I/O, and does not depend on operations.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sessions_kms.aws.http_client.body import BODY_MAX, ChunkedBody, InvalidResponse, SizedBody
from sessions_kms.http.fields import FIELD_LINES, VALUE

HEAD_MAX: Final = 32 * 1024  # bytes, of all interim responses as well
LINES_MAX: Final = 100
INTERIM_MAX: Final = 8  # responses such as 100 Continue before the final one
SWITCHING_PROTOCOLS: Final = 101
OK: Final = 200  # the statuses below are of interim responses: RFC 9110, 15.2
BODILESS: Final = frozenset({204, 304})  # RFC 9110, 6.4.1; DynamoDB sends neither

_END_OF_HEAD = b"\r\n\r\n"
_HEAD = re.compile(rf"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: {VALUE})?+\r\n({FIELD_LINES})")
_PAIRS = re.compile(r"([^:]++):[\t ]*+([^\r]*+)\r\n")  # of such lines


@dataclass(slots=True)
class Response:
    """A whole response; ``keep_alive`` is whether its connection may carry another request.

    ``connection`` is the one on which it came, for callers that want another one next.
    """

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)
    keep_alive: bool
    connection: Any = field(default=None, repr=False, compare=False)


class Head(NamedTuple):
    """Status and headers, by their names in lower case; repeated ones are joined by a comma."""

    minor: int  # of the version: HTTP/1.0, HTTP/1.1
    status: int
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request: RFC 9112, 9.3.

        What only looks like `close` ends it as well: that costs a connection and no more.
        """
        return self.minor == 1 and "close" not in self.headers.get("connection", "").lower()

    def length(self) -> int | None:
        """Return the length of the body; None where it comes in chunks.

        A response without either would end with the connection, and look whole wherever that is
        cut; so it is rejected. RFC 9112, 6.3. Raises InvalidResponse.
        """
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding")
        if coding is not None:
            if length is None and self.minor == 1 and coding.lower() == "chunked":
                return None
        # One that came twice has a comma in it.
        elif length is not None and length.isdigit() and length.isascii() and len(length) <= 10:
            return int(length)
        raise InvalidResponse("The length of the response is ambiguous.")


def parse_head(text: str) -> Head:
    """Parse a head, up to the end of its last header. Raises InvalidResponse."""
    __traceback_hide__ = True
    found = _HEAD.fullmatch(text)
    if found is None or text.count("\n") > LINES_MAX:
        raise InvalidResponse("The head of the response is not HTTP/1.1.")
    minor, status, lines = found.groups()
    # A space at the end stays, and a length or a coding with one is rejected: clients differ.
    headers: dict[str, str] = {}
    for name, value in _PAIRS.findall(lines):
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Head(int(minor), int(status), headers)


LEARNT_MAX: Final = 16  # patterns made by one process: a server that changes its headers gets none
LETTERS_MAX: Final = 1024  # of a head that is learnt: a pattern of 32 KB takes 0.1 s to compile
_STATUS: Final = "HTTP/1.1 200 "
_LENGTH: Final = "([0-9]{1,10})"


class HeadTemplate:
    """Reads heads with the same headers, in the same order, as an earlier one; threads share it.

    Its pattern takes a third of the time of `parse_head`, and matches only what that accepts: with
    status 200, one length, and a connection that stays open.
    """

    def __init__(self) -> None:
        self._known: tuple[re.Pattern[str], tuple[str, ...]] | None = None
        self._learnt = 0

    def match(self, text: str) -> dict[str, str] | None:
        """Return the headers of a head; None where it is different, or no head."""
        __traceback_hide__ = True
        if self._known is None:
            return None
        pattern, names = self._known
        found = pattern.fullmatch(text)
        return None if found is None else dict(zip(names, found.groups(), strict=True))

    def learn(self, text: str, head: Head) -> None:
        """Match heads like this one from now on, if it is of this kind."""
        if self._learnt >= LEARNT_MAX or len(text) > LETTERS_MAX:
            return
        status, *lines, _ = text.split("\r\n")
        headers = head.headers
        if (
            not status.startswith(_STATUS)
            or len(headers) != len(lines)
            or "content-length" not in headers
            or "transfer-encoding" in headers
            or not head.keep_alive
            or self.match(text) is not None
        ):
            return
        self._learnt += 1
        names = [line.partition(":")[0] for line in lines]
        fields = "".join(
            rf"{re.escape(name)}:[\t ]*+{_value_pattern(name, headers)}\r\n" for name in names
        )
        pattern = re.compile(rf"{re.escape(status)}\r\n{fields}")
        self._known = (pattern, tuple(name.lower() for name in names))


def _value_pattern(name: str, headers: dict[str, str]) -> str:
    """Return the pattern of a value; `Connection` must be the same, since it keeps alive."""
    if name.lower() == "connection":
        return f"({re.escape(headers['connection'])})"
    return _LENGTH if name.lower() == "content-length" else f"({VALUE})"


template: Final = HeadTemplate()


class ResponseReader:
    """Reads one response of a connection."""

    # Of the class, as most responses come at once: to create a reader then calls no function.
    _has_begun = False
    _buffer = b""  # of the head
    _head_size = 0  # bytes of heads
    _interim = 0
    _head: Head | None = None
    _body: SizedBody | ChunkedBody | None = None

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes; return the response once it is whole. Raises InvalidResponse.

        Must not be called again once it has returned the response, or has raised.
        """
        __traceback_hide__ = True
        if not self._has_begun:
            self._has_begun = True
            begin = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            is_head = len(_END_OF_HEAD) <= begin <= HEAD_MAX
            headers = template.match(data[: begin - 2].decode("latin-1")) if is_head else None
            if headers is not None:
                length = int(headers["content-length"])
                if length == len(data) - begin <= BODY_MAX:  # Nearly always it is all there.
                    return Response(OK, headers, data[begin:], keep_alive=True)
                self._head_size, self._head = begin, Head(1, OK, headers)
                self._body = SizedBody(length)
                data = data[begin:]
        if self._body is None:
            self._buffer += data
            if not self._read_heads():
                return None
            data = self._buffer
        return self._read_body(data)

    @property
    def remaining(self) -> int:
        """How many bytes of the body have yet to come; 0 where that is unknown."""
        return self._body.remaining if isinstance(self._body, SizedBody) else 0

    def receive_end(self) -> None:
        """Take the end of the connection, before the response was whole.

        Raises InvalidResponse, unless no byte of a response had come.
        """
        if self._buffer or self._head_size:
            raise InvalidResponse("The response was cut short.")

    def _read_heads(self) -> bool:
        """Read the heads that are there; return True if the final one was among them."""
        while (end := self._buffer.find(_END_OF_HEAD)) >= 0:
            end += len(_END_OF_HEAD)
            self._check_size(end)
            text = self._buffer[: end - 2].decode("latin-1")
            head = parse_head(text)
            self._buffer = self._buffer[end:]
            self._head_size += end
            if head.status >= OK:
                self._start_body(head)
                template.learn(text, head)
                return True
            self._skip(head)
        self._check_size(len(self._buffer))
        return False

    def _check_size(self, size: int) -> None:
        if self._head_size + size > HEAD_MAX:
            raise InvalidResponse("The head of the response is too long.")

    def _skip(self, head: Head) -> None:
        self._interim += 1
        framed = "content-length" in head.headers or "transfer-encoding" in head.headers
        if framed or head.status == SWITCHING_PROTOCOLS or self._interim > INTERIM_MAX:
            raise InvalidResponse("An interim response is not allowed here.")

    def _start_body(self, head: Head) -> None:
        if head.status in BODILESS:
            raise InvalidResponse("A response without a body is invalid here.")
        length = head.length()
        self._head, self._body = head, ChunkedBody() if length is None else SizedBody(length)

    def _read_body(self, data: bytes) -> Response | None:
        __traceback_hide__ = True
        head, body = self._head, self._body
        assert head is not None and body is not None  # noqa: S101, PT018 - for the type checker
        rest = body.receive_data(data)
        if rest is None:
            return None
        # More than the response was not asked for, so nothing on this connection can be trusted.
        return Response(head.status, head.headers, body.content(), head.keep_alive and not rest)
