"""Heads that no two programs read alike, or that do not end, with the status of each."""

from gateway_site.server.request_syntax import (
    FIELD_SIZE,
    HEAD_FIELDS,
    HEAD_SIZE,
    PATH_SIZE,
    TARGET_SIZE,
)

CASES: dict[str, tuple[int, bytes]] = {
    "both framings": (
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
    ),
    "both, the other way round, as HTTP/1.0": (
        400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    "equal lengths": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
    "a list of lengths": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    ),
    "a signed length": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    "an empty length": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello"),
    "a length of 19 digits": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000005\r\n\r\nhello",
    ),
    "another coding": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    "identity": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    "chunked twice": (
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunked in HTTP/1.0": (
        400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "two hosts in HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "a line that ends in LF": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a folded line": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"),
    "a blank before a colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n"),
    "a whole URL": (400, b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a tunnel": (400, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    "a fragment": (400, b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "bytes that are not ASCII": (400, b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/2's preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2 by its version": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a long target": (414, b"GET /" + b"x" * TARGET_SIZE + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a long path": (414, b"GET /" + b"x" * PATH_SIZE + b"?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "long cookies": (
        431, b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"x" * HEAD_SIZE + b"\r\n\r\n",
    ),
    "a long field": (
        431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * FIELD_SIZE + b"\r\n\r\n",
    ),
    "a long name": (
        431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * FIELD_SIZE + b": x\r\n\r\n",
    ),
    "a field that is long in all its lines": (
        431, b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"x" * 1024 + b"\r\n") * 16 + b"\r\n",
    ),
    "a long content type": (
        400, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: " + b";" * 1025 + b"\r\n\r\n",
    ),
    "a content type that is long in all its lines": (
        400, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"content-type: a;b;c\r\n" * 190 + b"\r\n",
    ),
    "a field without an end": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000),
    "a name without an end": (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 1_000_000),
    "a target without an end": (431, b"GET /" + b"x" * 1_000_000),
    "empty lines without an end": (400, b"\r\n" * 500_000),
    "many fields": (
        431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * HEAD_FIELDS + b"\r\n",
    ),
}  # fmt: skip
