"""A request as it is written: method, address, headers and body enter, bytes leave.

It is the last look at what leaves, and relies on nobody's before it: whatever could be read as
something else than it was meant is not written. It knows no connection.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import cast
from urllib.parse import urlsplit

from gateway_site.rules import url_rules
from gateway_site.rules.body import CHUNKED, TAKES_BODY
from gateway_site.rules.headers import Headers
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.failures import LocalProtocolError

METHOD = re.compile(r"[A-Z]+")
NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]*")  # tokens: RFC 9110 section 5.6.2
VALUES = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9110 section 5.5
LENGTH = re.compile(rb"[0-9]{1,18}")
BLANKS = b" \t"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1
DELIMITING = frozenset({b"content-length", b"transfer-encoding"})

Content = AsyncGenerator[bytes, None]


@dataclass(frozen=True)
class Server:
    """Where an upstream is asked, and what `Host` says."""

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


def request(
    upstream: Upstream, method: str, url: str, headers: Headers, content: AsyncIterable[bytes]
) -> Request:
    """Return a request with the headers as given, and `Host`; they say how long the body is.

    Their names are in lower case. Raises LocalProtocolError, and PathRefused for an address that
    is not the upstream's.
    """
    target = url_rules.request_target(upstream, url).encode("ascii")
    server = server_of(upstream.origin)
    if not METHOD.fullmatch(method) or not _are_fields(headers):
        raise LocalProtocolError
    lines = [b"%b: %b\r\n" % (name, value.strip(BLANKS)) for name, value in headers]
    line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode("ascii"), target, server.netloc)
    head = b"".join([line, *lines, b"\r\n"])
    return Request(method, server, head, _length(headers), content)


def _are_fields(headers: Headers) -> bool:
    """Tell whether no byte of a header can begin another one, or end the head."""
    names = [name for name, _ in headers]
    return (
        all(names)
        and b"host" not in names
        and NAMES.fullmatch(b"".join(names)) is not None
        and VALUES.fullmatch(b"".join([value for _, value in headers])) is not None
    )


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
