"""Requests that take parsers the longest, each at the largest size that the limits accept.

An attacker's view, without knowledge of the parsers. Each part of a request (a header, the path,
the query, the cookies, the body, its framing) is filled with content that is expensive for parsers
of such parts, after an optional opening.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

HEAD = 63 * 1024  # bytes; the rest of the limit is for the other fields
FIELD = 16 * 1024 - 64
CONTENT_TYPE = 1000
PATH = 8 * 1024
TARGET = 24 * 1024
COOKIE = 4096
# A page accepts less than an upstream: the largest body without a 413 counts.
BODIES = (2_400_000, 32_000, 16_000)
SENT = 2_000_000  # bytes of tiny chunks, sent as fast as they are read
FIELDS = 190  # in addition to those of every request

OPENING = (b"", b'"', b'a;b="')
PARTS = (
    *(b";", b",", b"=", b'"', b"\\", b'\\"', b"(", b"%", b":", b".", b"/", b"@", b"[", b"&", b"+"),
    *(b"a;", b';"', b"a=b,", b"a=b; ", b"9", b"a\t", b"*/*,", b"a/b;q=0.1,", b";a*0*=b", b"\xe9"),
)
OPENING_OF = {
    b"Authorization": (b"Bearer ", b"Basic ", b'DPoP "'),
    b"Origin": (b"http://", b"http://[", b"//"),
    b"Referer": (b"http://", b"http://["),
    b"Range": (b"bytes=", b"bytes=-"),
    b"If-Modified-Since": (b"", b"Thu, 01 Jan 1970 "),
    b"If-None-Match": (b"", b'W/"'),
    b"X-Forwarded-For": (b"", b"127.0.0.1, "),
    b"Forwarded": (b"", b'for="'),
    b"traceparent": (b"", b"00-"),
    b"Content-Type": (*OPENING, b"multipart/form-data; boundary=", b"text/html; charset="),
    b"Host": (b"", b"["),
    b"Accept": (b"", b'a/b;c="'),
}
PARTS_OF = {
    b"X-Forwarded-For": (b"127.0.0.1,", b"127.0.0.1:80,", b"::1,", b"::ffff:127.0.0.1,", b"1."),
    b"Range": (b"1-2,", b"9", b"-"),
    b"If-Modified-Since": (b"GMT ", b"1:", b"-0000 ", b"9"),
    b"If-None-Match": (b'W/"a",', b'"a",'),
    b"Accept-Encoding": (b"gzip,", b"gzip;q=0.5,", b"*;q=0,"),
    b"traceparent": (b"00-", b"f"),
    b"Host": (b"a.", b"[", b"f:", b"0"),
    b"Connection": (b"close,", b"upgrade,", b"a,"),
    b"Upgrade": (b"h2c,", b"tls/1,"),
    b"Transfer-Encoding": (b"chunked,",),
    b"Content-Length": (b"9", b"1,"),
}
HEADERS = (
    *(b"Accept", b"Accept-Encoding", b"Accept-Language", b"Authorization", b"baggage"),
    *(b"Connection", b"Content-Encoding", b"Content-Length", b"Content-Type", b"DPoP", b"Expect"),
    *(b"Forwarded", b"Host", b"If-Modified-Since", b"If-None-Match", b"Mcp-Method", b"Origin"),
    *(b"Range", b"Referer", b"Sec-Fetch-Site", b"Sec-Fetch-Mode", b"traceparent", b"tracestate"),
    *(b"Transfer-Encoding", b"Upgrade", b"User-Agent", b"X-CSRFToken", b"X-Forwarded-For"),
    *(b"X-Forwarded-Proto", b"X-Request-ID"),
)
PATHS = (
    *(b"/", b"/accounts/", b"/accounts/oidc/corp/login/", b"/admin/", b"/apps/", b"/continue/"),
    *(b"/gateway/", b"/gateway/bench/", b"/livez/", b"/oauth/", b"/oauth/backchannel-logout/"),
    *(b"/sessions/", b"/static/", b"/try/", b"/.well-known/oauth-protected-resource/"),
)
PARTS_OF_PATHS = (
    *(b"/", b"a/", b"a", b"../", b"%", b"%2f", b"%2e%2e/", b"%C3%A9", b"%CC%81%CC%A7", b"%FF"),
    *(b"%00", b"%EF%B7%BA", b"%f0%9f%98%80", b";", b".", b"-", b"0", b"(", b"[", b"\\", b'"', b"*"),
)
QUERIES = (
    *(b"/", b"/accounts/login/", b"/accounts/oidc/corp/login/callback/", b"/continue/"),
    *(b"/gateway/", b"/gateway/bench/x", b"/oauth/authorize", b"/readyz", b"/sessions/", b"/apps/"),
)
OPENING_OF_QUERIES = (b"", b"next=//", b"after=", b"verbose&", b"client_id=https://")
PARTS_OF_QUERIES = (
    *(b"&", b"=", b"a&", b"a=1&", b"%", b"%41", b"%C3%A9", b"%CC%81%CC%A7", b"%FF", b"+", b"a"),
    *(b"/", b"@", b":", b"[", b".", b";", b"1", b"x/../", b"%EF%B7%BA"),
)
OWN_COOKIES = (
    *(b"gateway_sessionid", b"gateway_csrftoken", b"gateway_messages", b"gateway_logout"),
    *(b"gateway_sessionid-next-%08d" % number for number in range(11)),
)
PARTS_OF_COOKIES = (
    *(b"\\", b'\\"', b"\\054", b'"', b"\xa0", b";", b"=", b" ;", b"a=;", b"; a=1", b'; a="\\"'),
    *(b"; gateway_sessionid=1", b"; \xa0gateway_sessionid=1", b"; gateway_", b"x"),
)
CSRF = b"a" * 32
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
FORM = b"application/x-www-form-urlencoded"
KINDS = {
    FORM: (b"a=1&", b"&", b"a&", b"%", b"a=%C3%A9&", b"+", b"="),
    b"multipart/form-data; boundary=x": (b"--x\r\n", b"\r\n", b"--", b"-", MULTIPART + b"\r\n"),
    b"application/json": (b"[", b'{"a":', b'"\\u00e9",', b"1", b"[],", b" ", b"1e9,", b'"'),
    b"application/jwt": (b".", b"a.", b"a", b"="),
}
OPENING_OF_BODIES = {
    FORM: (b"", b"logout_token=", b"token=", b"csrfmiddlewaretoken="),
    b"application/json": (b"", b"[", b'{"redirect_uris": ["http://'),
    b"multipart/form-data; boundary=x": (b"", MULTIPART),
}
POSTED = (
    *(b"/accounts/login/", b"/accounts/oidc/corp/login/", b"/admin/login/", b"/livez"),
    *(b"/gateway/bench/x", b"/oauth/backchannel-logout/corp", b"/oauth/register"),
    *(b"/oauth/revoke", b"/oauth/token", b"/sessions/end/"),
)
CHUNKS = (b"1\r\na\r\n", b"1;a\r\na\r\n", b"0001\r\na\r\n", b"2\r\nab\r\n")

Pairs = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Route:
    """A URL with the credentials for it, and a name."""

    name: str
    path: bytes
    own: Pairs = ()


@dataclass(frozen=True)
class Case:
    """One request: the filled part (`place`), the filling, and the target."""

    place: str
    filling: bytes
    at: str
    content: bytes = field(repr=False)


def all_of(routes: list[Route], cookie: bytes) -> Iterator[Case]:
    """Yield every case. `cookie` is a session's, for the cases by path."""
    for route in routes:
        yield from _headers(route)
        yield from _many_fields(route)
        yield from _cookies(route)
        yield from _at_once(route)
    yield from _paths(cookie)
    yield from _queries(cookie)
    yield from _bodies(cookie)
    yield from _chunks(cookie)


def request(method: bytes, target: bytes, headers: Pairs = (), body: bytes = b"") -> bytes:
    """Return the bytes of a request; add a `Host` header if there is none."""
    named = {name for name, _ in headers}
    lines = [method + b" " + target + b" HTTP/1.1", b"Connection: close"]
    lines += [] if b"Host" in named else [b"Host: 127.0.0.1"]
    lines += (
        [] if not body or b"Transfer-Encoding" in named else [b"Content-Length: %d" % len(body)]
    )
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def fill(opening: bytes, part: bytes, size: int) -> bytes:
    """Return an opening followed by a repeated part."""
    return (opening + part * (size // len(part) + 1))[:size]


def _headers(route: Route) -> Iterator[Case]:
    for name in HEADERS:
        size = CONTENT_TYPE if name == b"Content-Type" else FIELD - len(name)
        for opening in OPENING_OF.get(name, OPENING):
            for part in (*PARTS, *PARTS_OF.get(name, ())):
                value = fill(opening, part, size).strip(b" \t,")
                others = tuple(pair for pair in route.own if pair[0] != name)
                content = request(b"GET", route.path, (*others, (name, value)))
                yield Case(name.decode(), opening + part, route.name, content)


def _many_fields(route: Route) -> Iterator[Case]:
    """Yield heads with the maximum number of fields, of one name or of many."""
    for name in (b"Accept", b"X-Forwarded-For", b"Connection", b"Cookie", b"Mcp-%d"):
        names = [name % number if b"%" in name else name for number in range(FIELDS)]
        whole = HEAD - len(names) * 24 if len(set(names)) > 1 or name == b"Cookie" else FIELD
        for part in (b"127.0.0.1,", b"a=1; ", b'"\\', b"a,"):
            value = fill(b"", part, whole // len(names) - 8).strip(b", ")
            fields = ((each, value) for each in names)
            content = request(b"GET", route.path, (*route.own, *fields))
            yield Case("many fields", name + b": " + part, route.name, content)


def _cookies(route: Route) -> Iterator[Case]:
    others = tuple(pair for pair in route.own if pair[0] != b"Cookie")
    mine = b"".join(value + b"; " for name, value in route.own if name == b"Cookie")
    for part in PARTS_OF_COOKIES:
        for opening in (b"", b'x="', b"gateway_csrftoken="):
            value = fill(mine + opening, part, HEAD) + b'"'
            content = request(b"GET", route.path, (*others, (b"Cookie", value)))
            yield Case("Cookie", opening + part, route.name, content)
        own = (fill(name + b'="', part, COOKIE - 2) + b'"' for name in OWN_COOKIES)
        content = request(b"GET", route.path, (*others, (b"Cookie", mine + b"; ".join(own))))
        yield Case("Cookie", b"our own: " + part, route.name, content)


def _at_once(route: Route) -> Iterator[Case]:
    """Yield heads in which all parts are long, up to the size limit of a head."""
    mine = tuple(pair for pair in route.own if pair[0] != b"Cookie")
    session = b"".join(value + b"; " for name, value in route.own if name == b"Cookie")
    for part in (b"%", b"&", b"%41"):
        for size in (TARGET, 4096):
            target = fill(route.path + b"?", part, size)
            own = (fill(name + b'="', b"\\", COOKIE - 2) + b'"' for name in OWN_COOKIES[:4])
            cookies = (session + b"; ".join(own) + b"; " + fill(b"", b"a=;", HEAD))[
                : HEAD - size - 6000
            ]
            headers = (
                (b"Cookie", cookies),
                (b"Content-Type", fill(b'a;b="', b";", CONTENT_TYPE)),
                (b"X-Forwarded-For", fill(b"", b"127.0.0.1,", 4096).strip(b",")),
            )
            content = request(b"GET", target, (*mine, *headers))
            yield Case("everything at once", part, route.name, content)


def _paths(cookie: bytes) -> Iterator[Case]:
    for path in PATHS:
        for part in PARTS_OF_PATHS:
            for size in (PATH, 4096):  # the second for calls
                target = fill(path, part, size)
                for own in ((), ((b"Cookie", cookie),)):
                    yield Case("path", part, path.decode(), request(b"GET", target, own))


def _queries(cookie: bytes) -> Iterator[Case]:
    for path in QUERIES:
        for opening in OPENING_OF_QUERIES:
            for part in PARTS_OF_QUERIES:
                for size in (TARGET, 4096 + len(path)):  # the second for pages made in the loop
                    target = fill(path + b"?" + opening, part, size)
                    for own in ((), ((b"Cookie", cookie),)):
                        content = request(b"GET", target, own)
                        yield Case("query", opening + part, path.decode(), content)


def _bodies(cookie: bytes) -> Iterator[Case]:
    for path in POSTED:
        for kind, parts in KINDS.items():
            for opening in OPENING_OF_BODIES.get(kind, (b"",)):
                for part in parts:
                    for size in BODIES:
                        body = fill(opening, part, size)
                        headers = (*post_headers(cookie), (b"Content-Type", kind))
                        content = request(b"POST", path, headers, body)
                        yield Case(f"body of {size}", opening + part, path.decode(), content)


def _chunks(cookie: bytes) -> Iterator[Case]:
    for path in POSTED:
        for chunk in CHUNKS:
            body = chunk * (SENT // len(chunk)) + b"0\r\n\r\n"
            kind, framing = (b"Content-Type", FORM), (b"Transfer-Encoding", b"chunked")
            headers = (*post_headers(cookie), kind, framing)
            yield Case("chunks", chunk, path.decode(), request(b"POST", path, headers, body))


def post_headers(cookie: bytes) -> Pairs:
    """Return the headers with which a body is read, which anybody can send."""
    token = (b"X-CSRFToken", CSRF)
    cookies = cookie + b"; gateway_csrftoken=" + CSRF
    return ((b"Cookie", cookies), (b"Origin", b"http://127.0.0.1"), token)
