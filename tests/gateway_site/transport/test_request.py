"""The bytes of a request to an upstream, for any call."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.rules.headers import Headers
from gateway_site.rules.upstream import Upstream, read_upstreams
from gateway_site.rules.url_rules import UnsafeAddress
from gateway_site.transport.failures import LocalProtocolError
from gateway_site.transport.messages import Request, build_request
from tests.gateway_site.support.gateways import TOKEN, Gateway
from tests.support.cases import each_case

CHUNKED = (b"transfer-encoding", b"chunked")


def upstream(url: str = "https://api.example.com/v1") -> Upstream:
    return read_upstreams({"UPSTREAM_API_URL": url, "UPSTREAM_API_PROVIDER": "corp"})["api"]


def write_request(headers: Headers, *pieces: bytes, method: str = "POST") -> Request:
    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return build_request(
        upstream(), method, "https://api.example.com/v1/x?y=%20", headers, content()
    )


async def body_of(made: Request) -> bytes:
    return b"".join([piece async for piece in made.pieces()])


async def test_request_is_written_as_it_is_given() -> None:
    made = write_request(
        [(b"x-a", b" 1\t"), (b"x-a", b"\xff"), (b"content-length", b"5")], b"ab", b"cde"
    )
    assert made.head == (
        b"POST /v1/x?y=%20 HTTP/1.1\r\nhost: api.example.com\r\n"
        b"x-a: 1\r\nx-a: \xff\r\ncontent-length: 5\r\n\r\n"
    )
    assert await body_of(made) == b"abcde"


@pytest.mark.parametrize(
    ("url", "host", "server"),
    [
        ("https://a.example", b"a.example", ("a.example", 443, True)),
        ("http://127.0.0.1:8000", b"127.0.0.1:8000", ("127.0.0.1", 8000, False)),
        ("https://[::1]:8443/x", b"[::1]:8443", ("::1", 8443, True)),
    ],
)
def test_host_is_the_declared_one(url: str, host: bytes, server: tuple[str, int, bool]) -> None:
    declared = upstream(url)
    made = build_request(declared, "GET", f"{declared.origin}{declared.prefix}/", [], _nothing())
    assert b"\r\nhost: %b\r\n" % host in made.head
    assert (made.server.host, made.server.port, made.server.has_tls) == server


async def _nothing() -> AsyncIterator[bytes]:
    yield b"of which nobody asks"


async def test_body_is_written_in_chunks_none_of_them_empty() -> None:
    made = write_request([CHUNKED], b"ab", b"", b"x" * 17)
    assert await body_of(made) == b"2\r\nab\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]], ids=repr)
async def test_invalid_body_is_not_read(headers: Headers) -> None:
    made = build_request(upstream(), "GET", "https://api.example.com/v1", headers, _nothing())
    assert await body_of(made) == b""


@pytest.mark.parametrize("pieces", [[b"ab"], [b"ab", b"cd", b"ef"], []], ids=repr)
async def test_body_of_another_length_than_declared_fails(pieces: list[bytes]) -> None:
    made = write_request([(b"content-length", b"5")], *pieces)
    with pytest.raises(LocalProtocolError):
        await body_of(made)


@each_case(
    "header",
    [
        (b"x", b"1\r\ny: 2"), (b"x", b"1\ny: 2"), (b"x", b"1\r"), (b"x", b"\0"), (b"x", b"\x7f"),
        (b"x", b"\x0b"), (b"x\r\ny", b"1"), (b"x: 1\r\ny", b"1"), (b"x y", b"1"), (b"x:", b"1"),
        (b"", b"1"), (b"x\xff", b"1"), (b" x", b"1"), (b"X", b"1"), (b"host", b"evil.example"),
        (b"Host", b"evil.example"), (b"content-length", b"5"), (b"Content-Length", b"3"),
        CHUNKED, (b"transfer-encoding", b"gzip"), (b"Transfer-Encoding", b"chunked"),
    ],
    ids=repr,
)  # fmt: skip
def test_header_that_could_be_read_as_another_is_not_written(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        write_request([(b"content-length", b"3"), header])


@each_case("length", [b"", b"-1", b"+1", b"1 1", b"1,1", b"0x1", b"1" * 19, b"\xb2"])
def test_invalid_length_is_not_written(length: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        write_request([(b"content-length", length)])


@pytest.mark.parametrize("method", ["", "get", "GET ", "GET /x HTTP/1.1\r\nx:", "G\0"])
def test_invalid_method_is_not_written(method: str) -> None:
    with pytest.raises(LocalProtocolError):
        write_request([], method=method)


@given(
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12)), max_size=4),
    st.text(max_size=12),
)
def test_whatever_is_written_is_one_head(headers: Headers, rest: str) -> None:
    try:
        url = f"https://api.example.com/v1/{rest}"
        made = build_request(upstream(), "GET", url, headers, _nothing())
    except (LocalProtocolError, UnsafeAddress):
        return
    first, host, *lines = made.head.split(b"\r\n")
    assert first == b"GET /v1/%b HTTP/1.1" % rest.encode("ascii")
    assert host == b"host: api.example.com"
    assert lines == [*(name + b": " + value.strip(b" \t") for name, value in headers), b"", b""]
    assert all(b"\n" not in line and b"\r" not in line for line in lines)


# Through a gateway

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOSTILE = [
    "Connection: keep-alive, X-Request-Id, Authorization",
    "X-Request-Id: smuggled",
    "Authorization: Bearer of-the-client",
    "Proxy-Authorization: Basic eDp5",
    "Forwarded: for=203.0.113.9;host=evil.example",
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-Host: evil.example",
    "X-Original-URL: /admin",
    "X-HTTP-Method-Override: DELETE",
    "TE: trailers",
    "Keep-Alive: timeout=5",
    "Trailer: X",
    "Origin: {gateway}",
    "Referer: {gateway}/secret",
    "Sec-Fetch-Mode: cors",
    "X_Request_Id: underscored",
    "DPoP: proof",
    "Accept: a/b",
    "accept:  c/d \t",
    "User-Agent: caf\xe9",
    "Content-Type: text/plain",
    "Mcp-Param-X: ../..",
    "Via: 1.0 before",
    f"Traceparent: {PARENT}",
    "Expect: 100-continue",
]


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_what_leaves_is_known_to_the_byte(gateway: Gateway, framing: str) -> None:
    path = f"/leaves/{framing[:8]}/%C3%A9"
    gateway.canned.responses[path] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with gateway.writer() as client:
        csrf = f"X-CSRFToken: {client.headers['X-CSRFToken']!s}"
        extra = f"; gateway_csrftoken={client.cookies['gateway_csrftoken']}"
    lines = [line.replace("{gateway}", gateway.url) for line in HOSTILE]
    start = f"POST /gateway/canned{path}?q=%0d%0aX:%201&r=a|b HTTP/1.1"
    head = "\r\n".join([start, "Host: {host}", *lines, csrf, framing, "{cookie}", "", ""])
    body = b"5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n" if "chunked" in framing else b"hello"
    last = b"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    gateway.raw(head.encode("latin-1") + body + last, cookie=extra)

    [came] = [each for each in gateway.canned.requests if path.encode() in each]
    host = f"127.0.0.1:{gateway.port}"
    assert came.partition(b"\r\n\r\n")[0] == "\r\n".join(
        [
            f"POST {path}?q=%0d%0aX:%201&r=a%7Cb HTTP/1.1",
            f"host: 127.0.0.1:{gateway.canned.port}",
            "accept: a/b",
            "accept: c/d",
            "user-agent: caf\xe9",
            "content-type: text/plain",
            "mcp-param-x: ../..",
            f"traceparent: {PARENT}",
            "via: 1.0 before, 1.1 gateway",
            f'forwarded: for=unknown;host="{host}";proto=http',
            f"x-forwarded-host: {host}",
            "x-forwarded-proto: http",
            "x-forwarded-prefix: /gateway/canned",
            framing.lower(),
            f"authorization: Bearer {TOKEN}",
        ]
    ).encode("latin-1")
