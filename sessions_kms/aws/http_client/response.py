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
from sessions_kms.http.fields import TCHARS, VALUE

HEAD_MAX: Final = 32 * 1024  # bytes, of all interim responses as well
LINES_MAX: Final = 100
INTERIM_MAX: Final = 8  # responses such as 100 Continue before the final one
SWITCHING_PROTOCOLS: Final = 101
OK: Final = 200  # the statuses below are of interim responses: RFC 9110, 15.2
BODILESS: Final = frozenset({204, 304})  # RFC 9110, 6.4.1; DynamoDB sends neither

TOO_LONG: Final = "The head of the response is too long."
_END_OF_HEAD = b"\r\n\r\n"
_STATUS_LINE = re.compile(rf"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: {VALUE})?+\r\n")
# What is no field line matches with an empty name, up to the end: so no text is searched twice.
_FIELD_LINES = re.compile(rf"([{TCHARS}A-Z]++):[\t ]*+({VALUE})\r\n|[\0-\xff]+")


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
    status = _STATUS_LINE.match(text)
    pairs = _FIELD_LINES.findall(text, status.end()) if status else []
    # A space at the end stays, and a length or a coding with one is rejected: clients differ.
    headers = {name.lower(): value for name, value in pairs}
    if status is None or "" in headers or len(pairs) >= LINES_MAX:
        raise InvalidResponse("The head of the response is not HTTP/1.1.")
    if len(headers) < len(pairs):
        for key in headers:
            headers[key] = ", ".join([value for name, value in pairs if name.lower() == key])
    return Head(int(status[1]), int(status[2]), headers)


class ResponseReader:
    """Reads one response of a connection."""

    # Of the class, as most responses come at once: to create a reader then calls no function.
    _buffer = b""  # of the head
    _head_size = 0  # bytes of heads
    _interim = 0
    _head: Head | None = None
    _length: int | None = None  # of the body, unless it comes in chunks
    _body: SizedBody | ChunkedBody | None = None

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes; return the response once it is whole. Raises InvalidResponse.

        Must not be called again once it has returned the response, or has raised.
        """
        __traceback_hide__ = True
        if self._body is None:
            self._buffer += data
            if not self._read_heads():
                return None
            data, head, length = self._buffer, self._head, self._length
            if head is not None and length == len(data) <= BODY_MAX:  # Nearly always it is whole.
                return Response(head.status, head.headers, data, head.keep_alive)
            self._body = ChunkedBody() if length is None else SizedBody(length)
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
            self._head_size += end
            if self._head_size > HEAD_MAX:
                raise InvalidResponse(TOO_LONG)
            head = parse_head(self._buffer[: end - 2].decode("latin-1"))
            self._buffer = self._buffer[end:]
            if head.status >= OK:
                if head.status in BODILESS:
                    raise InvalidResponse("A response without a body is invalid here.")
                self._head, self._length = head, head.length()
                return True
            self._skip(head)
        if self._head_size + len(self._buffer) > HEAD_MAX:
            raise InvalidResponse(TOO_LONG)
        return False

    def _skip(self, head: Head) -> None:
        self._interim += 1
        framed = "content-length" in head.headers or "transfer-encoding" in head.headers
        if framed or head.status == SWITCHING_PROTOCOLS or self._interim > INTERIM_MAX:
            raise InvalidResponse("An interim response is not allowed here.")

    def _read_body(self, data: bytes) -> Response | None:
        __traceback_hide__ = True
        head, body = self._head, self._body
        assert head is not None and body is not None  # noqa: S101, PT018 - for the type checker
        rest = body.receive_data(data)
        if rest is None:
            return None
        # More than the response was not asked for, so nothing on this connection can be trusted.
        return Response(head.status, head.headers, body.content(), head.keep_alive and not rest)
