"""An answer as it is read: bytes enter piece by piece, a head and a body leave.

httptools reads them (llhttp, Node's): it refuses what no two programs read alike, such as a line
that ends in LF, a folded one, two lengths. Here is what it lets through, and the bounds that it
does not have. It knows no connection, but says whether one may go on after this answer: only
where both sides know beyond doubt where it ended.
"""

from __future__ import annotations

import httptools

from gateway_site.rules.headers import Headers
from gateway_site.transport.failures import RemoteProtocolError

HEAD_MAX = 100 * 1024  # bytes of what is no body: heads, chunks' lengths, trailers
FIELDS_MAX = 200
BEGINNING = b"HTTP/"  # llhttp reads RTSP/ and ICE/ as well, and skips blank lines before it
BLANKS = b" \t"
WITHOUT_BODY = frozenset({204, 304})  # RFC 9112 section 6.3


class AnswerReader:
    """The answer to one request, interim ones before it skipped.

    Each has a parser of its own: no byte that came with one answer is ever read as the next.
    """

    def __init__(self, method: str) -> None:
        """Take the method of the request, since it says whether a body follows."""
        self.status = 0
        self.headers: Headers = []
        self.has_begun = False  # something of it came
        self.has_head = False
        self.has_ended = False
        self.is_unmistakable = True  # so far
        self._is_head = method == "HEAD"
        self._until_close = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._head_size = 0
        self._overhead = 0

    def feed(self, data: bytes) -> None:
        """Read what came, which is not empty. Raises RemoteProtocolError."""
        is_first, self.has_begun = not self.has_begun, True
        if is_first and data[: len(BEGINNING)] != BEGINNING[: len(data)]:
            raise RemoteProtocolError
        held = len(self._body)
        try:
            self._parse(memoryview(data)[:-1])
            # What ended before the last byte is followed by something. The parser would not
            # tell of blank lines, so the last byte comes by itself.
            self.is_unmistakable = self.is_unmistakable and not self.has_ended
            self._parse(memoryview(data)[-1:])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_unmistakable = False
            if not self.has_ended:
                raise RemoteProtocolError from None
        self._count(0 if len(self._body) > held else len(data))

    def end(self) -> None:
        """Note that the connection has ended. Raises RemoteProtocolError within an answer."""
        self.is_unmistakable = False
        if not self.has_ended and not self._until_close:
            raise RemoteProtocolError
        self.has_ended = True

    def take(self) -> bytes:
        """Return what is there of the body."""
        taken = bytes(self._body)
        self._body.clear()
        return taken

    @property
    def held(self) -> int:
        """How much of the body is there, in bytes."""
        return len(self._body)

    def close(self) -> None:
        """Let go of the parser, which holds this reader: neither would be freed at once."""
        self._parser = None

    def _parse(self, data: memoryview) -> None:
        if self._parser is not None and data:
            self._parser.feed_data(data)
            if self.has_ended:
                self.close()

    def _count(self, overhead: int) -> None:
        self._overhead = self._overhead + overhead if overhead else 0
        if self._overhead > HEAD_MAX and not self.has_ended:
            raise RemoteProtocolError

    # The parser's side

    def on_message_begin(self) -> None:
        """Begin an answer, an interim one or the last; after that there is none."""
        if self.has_ended:
            raise RemoteProtocolError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field; trailers are dropped (RFC 9110 section 6.5.1)."""
        if self.has_head:
            return
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_MAX or len(self.headers) >= FIELDS_MAX:
            raise RemoteProtocolError
        self.headers.append((name.lower(), value.rstrip(BLANKS)))

    def on_headers_complete(self) -> None:
        """Judge a head. Raises RemoteProtocolError for one that is read in two ways, or none."""
        parser = self._parser
        assert parser is not None  # noqa: S101 - it is what calls
        self.status, version = parser.get_status_code(), parser.get_http_version()
        lengths = [value for name, value in self.headers if name == b"content-length"]
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if not 100 <= self.status <= 599 or version not in {"1.1", "1.0"}:
            raise RemoteProtocolError
        if codings and (version == "1.0" or [each.lower() for each in codings] != [b"chunked"]):
            raise RemoteProtocolError
        if self.status < 200 or self.status == 204:
            # They may have neither, having no body: RFC 9110 section 8.6, RFC 9112 section 6.1.
            self.is_unmistakable = self.is_unmistakable and not codings and lengths in ([], [b"0"])
        if self.status >= 200:
            self.has_head = True
            self.has_ended = self._is_head or self.status in WITHOUT_BODY
            self._until_close = not lengths and not codings
            is_kept = version == "1.1" and parser.should_keep_alive()
            self.is_unmistakable = self.is_unmistakable and is_kept

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self.has_ended:
            self._body += body

    def on_message_complete(self) -> None:
        """End the answer, unless it was an interim one: what that said is nobody's here."""
        self.has_ended = self.has_head
        if not self.has_head:
            self.headers.clear()
