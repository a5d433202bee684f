"""HTTP/1.1 messages: a request as it is written, and a response as it is read. No I/O.

This is the last check of a request before it leaves, and relies on no earlier one: a request that
could be read as something else is not written. httptools (llhttp, Node's) reads responses. It
rejects what no two programs read alike, such as a line that ends in LF, a folded one, two lengths.
Here are the checks and bounds that it lacks, and whether the connection may carry another request:
only where both sides know beyond doubt where the message ended.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import cast
from urllib.parse import urlsplit

import httptools

from gateway_site.rules import url_rules
from gateway_site.rules.body import CHUNKED, TAKES_BODY
from gateway_site.rules.headers import Headers
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.failures import LocalProtocolError, RemoteProtocolError
from sessions_kms.http import fields

METHOD = re.compile(r"[A-Z]+")
LENGTH = re.compile(rb"[0-9]{1,18}")
BLANKS = b" \t"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1
DELIMITING = frozenset({b"content-length", b"transfer-encoding"})

Content = AsyncGenerator[bytes, None]
HEAD_MAX = 100 * 1024  # bytes of what is no body: heads, chunks' lengths, trailers
FIELDS_MAX = 200
BEGINNING = b"HTTP/"  # llhttp reads RTSP/ and ICE/ as well, and skips blank lines before it
WITHOUT_BODY = frozenset({204, 304})  # RFC 9112 section 6.3


@dataclass(frozen=True)
class Server:
    """Where an upstream's requests go, and their `Host` header."""

    host: str
    port: int
    has_tls: bool
    netloc: bytes


@cache  # there are as many as are configured
def server_of(origin: str) -> Server:
    """Return the server of an upstream's origin."""
    parts = urlsplit(origin)
    has_tls = parts.scheme == "https"
    port = parts.port or (443 if has_tls else 80)
    return Server(parts.hostname or "", port, has_tls, parts.netloc.encode("ascii"))


@dataclass(eq=False, slots=True)
class Request:
    """A request that can be sent. `length` is its body's; None in chunks, 0 without one."""

    method: str
    server: Server
    head: bytes = field(repr=False)
    length: int | None
    content: AsyncIterable[bytes] = field(repr=False)

    @property
    def is_unmistakable(self) -> bool:
        """Whether servers agree on where it ends.

        Many leave the body of another method unread, and take it for the next request.
        """
        return self.length == 0 or self.method in TAKES_BODY

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again, although it may have been read: RFC 9110 section 9.2.2."""
        return self.length == 0 and self.method in SAFE

    async def pieces(self) -> Content:
        """Yield the body as it is written. Raises LocalProtocolError, and what the content does."""
        left = self.length
        if left == 0:
            return
        async with aclosing(cast("Content", aiter(self.content))) as content:
            async for piece in content:
                if left is not None:
                    left = _less(left, piece)
                    yield piece
                elif piece:  # an empty chunk would be the last
                    yield b"%x\r\n%b\r\n" % (len(piece), piece)
        if left:
            raise LocalProtocolError
        if left is None:
            yield b"0\r\n\r\n"


def build_request(
    upstream: Upstream, method: str, url: str, headers: Headers, content: AsyncIterable[bytes]
) -> Request:
    """Return a request with the headers as given, and `Host`; they say how long the body is.

    Their names are in lower case. Raises LocalProtocolError, and UnsafeAddress for an address that
    is not the upstream's.
    """
    target = url_rules.request_target(upstream, url).encode("ascii")
    server = server_of(upstream.origin)
    if not METHOD.fullmatch(method) or not fields.are_valid(headers) or b"host" in dict(headers):
        raise LocalProtocolError
    lines = [b"%b: %b\r\n" % (name, value.strip(BLANKS)) for name, value in headers]
    line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode("ascii"), target, server.netloc)
    head = b"".join([line, *lines, b"\r\n"])
    return Request(method, server, head, _length(headers), content)


def _length(headers: Headers) -> int | None:
    """Return how long a body is, by what delimits it: at most one header (RFC 9112 section 6)."""
    found = [pair for pair in headers if pair[0] in DELIMITING]
    if not found:
        return 0
    if found == [CHUNKED]:
        return None
    if len(found) > 1 or found[0][0] != b"content-length" or not LENGTH.fullmatch(found[0][1]):
        raise LocalProtocolError
    return int(found[0][1])


def _less(left: int, piece: bytes) -> int:
    """Return how much of a body is still to come after a piece."""
    if len(piece) > left:
        raise LocalProtocolError
    return left - len(piece)


class ResponseReader:
    """Reads the response to one request, and skips interim ones before it.

    Each has its own parser: no byte of one response is ever read as part of the next.
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

    def receive_data(self, data: bytes) -> None:
        """Read received bytes, which are not empty. Raises RemoteProtocolError."""
        is_first, self.has_begun = not self.has_begun, True
        if is_first and data[: len(BEGINNING)] != BEGINNING[: len(data)]:
            raise RemoteProtocolError
        before = len(self._body)
        try:
            self._parse(memoryview(data)[:-1])
            # A response that ended before the last byte is followed by something. The parser
            # does not report blank lines, so it gets the last byte separately.
            self.is_unmistakable = self.is_unmistakable and not self.has_ended
            self._parse(memoryview(data)[-1:])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_unmistakable = False
            if not self.has_ended:
                raise RemoteProtocolError from None
        self._count(0 if len(self._body) > before else len(data))

    def receive_end(self) -> None:
        """Take the end of the connection. Raises RemoteProtocolError within a response."""
        self.is_unmistakable = False
        if not self.has_ended and not self._until_close:
            raise RemoteProtocolError
        self.has_ended = True

    def take_body(self) -> bytes:
        """Return the received part of the body, and remove it here."""
        taken = bytes(self._body)
        self._body.clear()
        return taken

    @property
    def buffered(self) -> int:
        """How many bytes of the body are here."""
        return len(self._body)

    def close(self) -> None:
        """Release the parser, which refers to this reader: otherwise neither is freed at once."""
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
        """Begin a response, an interim one or the final one, after which none may follow."""
        if self.has_ended:
            raise RemoteProtocolError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped (RFC 9110 section 6.5.1)."""
        if self.has_head:
            return
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_MAX or len(self.headers) >= FIELDS_MAX:
            raise RemoteProtocolError
        self.headers.append((name.lower(), value.rstrip(BLANKS)))

    def on_headers_complete(self) -> None:
        """Check a head. Raises RemoteProtocolError for an ambiguous or invalid one."""
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
        """End the response, unless it was an interim one, whose headers are dropped."""
        self.has_ended = self.has_head
        if not self.has_head:
            self.headers.clear()
