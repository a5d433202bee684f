"""Which headers of a person's request reach an upstream: bytes in at one socket, out at another.

The names are those by which real products tell the server behind them who is calling, and what
they took from their manuals: a server that trusts one of them trusts whoever can send it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.gateway_site.support.gateways import Gateway

Fields = list[tuple[str, str]]

# Names that no request may get through, those of one product or kind beside each other.
IDENTITY = (Path(__file__).parent / "identity_headers.txt").read_text(encoding="utf-8").split()
# The first of a line is a name that passes, the rest is its value.
LISTING = """
Accept: text/plain;q=0.5, */*
Accept-Charset: utf-8
Accept-Encoding: gzip, br;q=0.1
Accept-Language: de, en;q=0.7
Content-Type: application/json; charset=utf-8
Content-Encoding: identity
Content-Language: de
Content-Disposition: attachment; filename="a b"
Content-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Range: bytes 0-4/10
If-Match: "a", W/"b"
If-None-Match: *
If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT
If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT
If-Range: "a"
Range: bytes=0-499, -500
Cache-Control: no-cache
Pragma: no-cache
User-Agent: curl/8.5.0
Prefer: respond-async, wait=10
Priority: u=5, i
Want-Content-Digest: sha-256=1
Want-Repr-Digest: sha-512=3
Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"
tracestate: rojo=00f067aa0ba902b7
baggage: key=value
X-Requested-With: XMLHttpRequest
X-Request-ID: f058ebd6-02f7-4d3f-942e-904344e8cde5
X-Correlation-ID: 1
MCP-Protocol-Version: 2025-06-18
Mcp-Session-Id: 1868a90c
Mcp-Method: tools/call
Mcp-Name: a
Mcp-Param-user_id: 42
Mcp-Param-a.b: c
Mcp-Param-Token: yes
Mcp-Param-!#$%&'*+-.^_`|~: odd
Last-Event-ID: 41
Grpc-Timeout: 1S
Grpc-Encoding: gzip
Grpc-Accept-Encoding: identity,gzip
X-Grpc-Web: 1
X-User-Agent: grpc-web-javascript/0.1
Connect-Protocol-Version: 1
Connect-Timeout-Ms: 1000
Tus-Resumable: 1.0.0
Upload-Length: 100
Upload-Offset: 0
Upload-Metadata: filename d29ybGQ=
OData-Version: 4.0
OData-MaxVersion: 4.01
X-GitHub-Api-Version: 2022-11-28
"""
LISTED: Fields = [
    (name, value)
    for name, _, value in (line.partition(": ") for line in LISTING.strip().splitlines())
]
TRACEPARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
MADE_HERE = {
    "host", "authorization", "via", "forwarded", "x-forwarded-host", "x-forwarded-proto",
    "x-forwarded-prefix", "traceparent",
}  # fmt: skip


def headers_at_upstream(gateway: Gateway, sent: Fields, *, upstream: str = "canned") -> Fields:
    """Send header lines as bytes; return those that a socket behind the gateway got."""
    gateway.canned.responses["/headers"] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
    head = f"GET /gateway/{upstream}/headers HTTP/1.1\r\nHost: {{host}}\r\n{{cookie}}\r\n{lines}"
    response = gateway.raw(f"{head}Connection: close\r\n\r\n".encode("latin-1"))
    assert response.startswith(b"HTTP/1.1 200"), response
    got = gateway.canned.requests[-1].decode("latin-1").partition("\r\n\r\n")[0]
    pairs = [line.partition(": ") for line in got.split("\r\n")[1:]]
    return [(name.lower(), value) for name, _, value in pairs]


def batches(names: Sequence[str], size: int = 100) -> Iterator[Sequence[str]]:
    """Part names into as many as the server takes of one request."""
    return (names[start : start + size] for start in range(0, len(names), size))


def lower_names(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]


def test_identity_headers_are_dropped(gateway: Gateway) -> None:
    for names in batches(IDENTITY):
        got = headers_at_upstream(gateway, [(name, "evil") for name in names])
        assert {name for name, _ in got} == MADE_HERE
        assert not [pair for pair in got if "evil" in pair[1]]


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site"])
def test_what_a_browser_tells_of_the_page_ends_here(gateway: Gateway, name: str) -> None:
    value = {"Origin": gateway.url, "Sec-Fetch-Site": "same-origin"}[name]
    assert {name for name, _ in headers_at_upstream(gateway, [(name, value)])} == MADE_HERE


def test_every_listed_name_arrives_unchanged_in_its_order(gateway: Gateway) -> None:
    got = headers_at_upstream(gateway, [*LISTED, TRACEPARENT])
    assert [pair for pair in got if pair[0] not in MADE_HERE] == lower_names(LISTED)
    assert TRACEPARENT in got


def test_every_listed_name_that_connection_names_ends_here(gateway: Gateway) -> None:
    named = ", ".join(name for name, _ in LISTED)
    got = headers_at_upstream(gateway, [("Connection", named), *LISTED])
    assert {name for name, _ in got} == MADE_HERE


def test_names_that_come_twice_arrive_twice(gateway: Gateway) -> None:
    twice = [("Accept", "a/b"), ("X-User", "evil"), ("ACCEPT", "c/d"), ("Mcp-Param-a.b", "1")]
    twice.append(("mcp-param-a.b", "2"))
    got = headers_at_upstream(gateway, twice)
    assert [pair for pair in got if pair[0] not in MADE_HERE] == [
        ("accept", "a/b"),
        ("accept", "c/d"),
        ("mcp-param-a.b", "1"),
        ("mcp-param-a.b", "2"),
    ]


def test_added_names_and_prefixes_arrive_at_their_upstream_alone(gateway: Gateway) -> None:
    added = [("X-Amz-Content-Sha256", "e3b0"), ("x-amz-target", "T"), ("Notion-Version", "1")]
    own = [
        pair
        for pair in headers_at_upstream(gateway, added, upstream="added")
        if pair[0] not in MADE_HERE
    ]
    assert own == lower_names(added)
    assert {name for name, _ in headers_at_upstream(gateway, added)} == MADE_HERE


def test_identity_headers_are_dropped_despite_an_added_prefix(gateway: Gateway) -> None:
    like_it = """
        X-Amz-Security-Token X-Amz-User X-Amz-Principal-Arn X-Amz-Auth X-Amz_Date X-Amz-a_b
        X-Amz-Authorization X-Amz-Method-Override X-Amz X-Amz- X-Amzn-Oidc-Data Notion-Version-2
    """.split()  # noqa: SIM905
    added = {"X-User-Id"}
    names = [name for name in [*like_it, *IDENTITY] if name not in added]
    for some in batches(names):
        got = headers_at_upstream(gateway, [(name, "evil") for name in some], upstream="added")
        assert {name for name, _ in got} == MADE_HERE


def test_identity_header_is_sent_if_added_by_its_full_name(gateway: Gateway) -> None:
    sent = [("X-User-Id", "1"), ("X-User-Id-2", "2"), ("X_User_Id", "3")]
    got = headers_at_upstream(gateway, sent, upstream="added")
    assert [pair for pair in got if pair[0] not in MADE_HERE] == [("x-user-id", "1")]
