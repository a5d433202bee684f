"""Which headers pass: the lists, and as properties of any headers."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.rules.headers import (
    CONTENT_SECURITY_POLICY,
    NOT_RETURNED,
    TRACEPARENT,
    Headers,
    named_by_connection,
    request_headers,
    response_headers,
)
from gateway_site.rules.request_headers import DEFAULT_HEADERS
from tests.gateway_site.support.gateways import Gateway
from tests.support.cases import each_case

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCXYZ"
LISTED_NAMES = {name.encode() for name in DEFAULT_HEADERS.names}
KNOWN = sorted(LISTED_NAMES | NOT_RETURNED | {b"cookie", b"x-forwarded-for", b"vary"})
NAMES = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from([name.upper() for name in KNOWN]),
    st.text(TOKEN_CHARACTERS, min_size=1, max_size=12).map(str.encode),
)
VALUES = st.one_of(
    st.text(" -~", max_size=30).map(str.encode),
    st.lists(st.sampled_from(KNOWN), max_size=3).map(b", ".join),
)
LISTS: st.SearchStrategy[Headers] = st.lists(st.tuples(NAMES, VALUES), max_size=12)
SET = {b"via", b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix"}


def forward_headers(headers: Headers) -> Headers:
    return request_headers(
        headers, DEFAULT_HEADERS, host="gateway.example", scheme="https", prefix="/gateway/api"
    )


@given(LISTS)
def test_browser_headers_are_not_forwarded(headers: Headers) -> None:
    found = forward_headers(headers)
    names = [name for name, _ in found]
    passed = set(names) - SET - LISTED_NAMES
    assert all(
        name.startswith((*map(str.encode, DEFAULT_HEADERS.prefixes), b"mcp-")) for name in passed
    )
    for name in SET:
        assert names.count(name) == 1
    assert dict(found)[b"x-forwarded-host"] == b"gateway.example"
    assert dict(found)[b"forwarded"] == b'for=unknown;host="gateway.example";proto=https'
    assert names.count(b"traceparent") == 1
    assert TRACEPARENT.fullmatch(dict(found)[b"traceparent"])


@given(LISTS)
def test_what_connection_names_ends_here(headers: Headers) -> None:
    named = named_by_connection([(name.lower(), value) for name, value in headers])
    ours = SET | {b"traceparent"}
    assert not {name for name, _ in forward_headers(headers)} & named - ours
    set_here = {
        b"cache-control",
        b"vary",
        b"content-security-policy",
        b"cross-origin-resource-policy",
        b"x-content-type-options",
    }
    assert not {name for name, _ in response_headers(headers)} & named - set_here


@given(LISTS)
def test_cors_headers_are_removed(headers: Headers) -> None:
    found = response_headers(headers)
    names = [name for name, _ in found]
    assert NOT_RETURNED & set(names) == {b"x-content-type-options"}  # its own
    assert not [name for name in names if name.startswith((b"access-control-", b"x-accel-"))]
    assert b"location" not in names
    for name, value in (
        (b"content-security-policy", CONTENT_SECURITY_POLICY),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"x-content-type-options", b"nosniff"),
    ):
        assert [v for n, v in found if n == name] == [value]
    (cache,) = [value for name, value in found if name == b"cache-control"]
    directives = [item.strip().lower() for item in cache.split(b",")]
    assert b"private" in directives
    assert b"public" not in directives
    assert not [item for item in directives if item.startswith(b"s-maxage")]
    (vary,) = [value for name, value in found if name == b"vary"]
    assert b"*" in vary or b"cookie" in vary.lower()


@given(LISTS)
def test_everything_else_passes_in_both_directions(headers: Headers) -> None:
    own = [(b"Content-Type", b"a/b"), (b"Content-Digest", b"x"), (b"Mcp-Session-Id", b"s")]
    named = named_by_connection([(name.lower(), value) for name, value in headers])
    kept = [(name.lower(), value) for name, value in own if name.lower() not in named]
    assert [pair for pair in forward_headers(headers + own) if pair in kept][-len(kept) :] == kept
    assert [pair for pair in response_headers(headers + own) if pair in kept][-len(kept) :] == kept


@each_case(
    ("given", "expected"),
    [
        ([], "private, no-store"),
        (["max-age=60"], "private, max-age=60"),
        (["public, max-age=60, s-maxage=600"], "private, max-age=60"),
        # A quote that nobody closes must hide nothing from a cache that cuts at each comma.
        (['x=", public, s-maxage=600'], 'private, x="'),
        (["Public", "must-revalidate"], "private, must-revalidate"),
        (["no-store"], "private, no-store"),
        (['private="x-a", max-age=1'], "private, max-age=1"),
        (["public"], "private, no-store"),
    ],
)
def test_cache_control_is_private(given: list[str], expected: str) -> None:
    headers = [(b"cache-control", value.encode()) for value in given]
    assert dict(response_headers(headers))[b"cache-control"].decode() == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "Cookie"),
        (["Accept"], "Accept, Cookie"),
        (["Accept", "cookie"], "Accept, cookie"),
        (["*"], "*"),
    ],
)
def test_responses_vary_by_cookie(given: list[str], expected: str) -> None:
    headers = [(b"Vary", value.encode()) for value in given]
    assert dict(response_headers(headers))[b"vary"].decode() == expected


@each_case(
    ("challenge", "passes"),
    [
        ('Bearer error="invalid_token", resource_metadata="https://x.example"', True),
        ('Basic realm="x"', False),
        ('Bearer, BASIC realm="x"', False),
        ("Negotiate", False),
        ("NTLM", False),
        ('Digest nonce="x"', False),
    ],
)
def test_browser_never_asks_for_a_password(challenge: str, passes: bool) -> None:
    found = response_headers([(b"WWW-Authenticate", challenge.encode())])
    assert (b"www-authenticate" in dict(found)) is passes


@each_case(
    ("traceparent", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("x", False),
    ],
)
def test_trace_context_is_kept_or_started(traceparent: str, kept: bool) -> None:
    found = dict(forward_headers([(b"traceparent", traceparent.encode()), (b"tracestate", b"a=1")]))
    assert (found[b"traceparent"] == traceparent.encode()) is kept
    assert (b"tracestate" in found) is kept


def test_response_of_a_hostile_upstream_is_made_harmless(gateway: Gateway) -> None:
    hostile = [
        ["Set-Cookie", "gateway_sessionid=evil"],
        ["Set-Cookie", "other=1"],
        ["Strict-Transport-Security", "max-age=0"],
        ["Clear-Site-Data", '"*"'],
        ["Access-Control-Allow-Origin", "*"],
        ["Access-Control-Allow-Credentials", "true"],
        ["Content-Security-Policy", "script-src *"],
        ["X-Frame-Options", "ALLOWALL"],
        ["X-Accel-Redirect", "/etc/passwd"],
        ["X-Sendfile", "/etc/passwd"],
        ["Refresh", "0;url=https://evil.example"],
        ["Service-Worker-Allowed", "/"],
        ["Alt-Svc", 'h3="evil.example:443"'],
        ["Content-Type", "text/html"],
        ["Cache-Control", "public, max-age=600"],
        ["Link", '<https://x.example>; rel="next"'],
        ["X-Kept", "1"],
    ]
    response = gateway.get(
        "echo/answer", params={"headers": json.dumps(hostile), "body": "<script>x</script>"}
    )
    assert response.status_code == 200
    assert set(response.headers) == {
        "date", "server", "content-type", "content-length", "x-kept", "cache-control",
        "vary", "content-security-policy", "cross-origin-resource-policy",
        "x-content-type-options", "x-frame-options", "referrer-policy",
        "cross-origin-opener-policy", "x-request-id",
    }  # fmt: skip
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cache-Control"] == "private, max-age=600"
    assert response.headers["Content-Security-Policy"].startswith("sandbox;")
    assert response.headers["Server"] == "uvicorn"
    assert not response.cookies


def test_length_that_contradicts_the_transfer_encoding_does_not_come_back() -> None:
    came = [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5"), (b"X-Kept", b"1")]
    names = [name for name, _ in response_headers(came)]
    assert b"x-kept" in names
    assert b"content-length" not in names


@each_case(
    "name",
    [
        "CDN-Cache-Control",
        "Akamai-Cache-Control",
        "Netlify-CDN-Cache-Control",
        "Edge-Control",
        "Secure-Session-Registration",
        "Secure-Session-Challenge",
        "Use-As-Dictionary",
    ],
)
def test_order_to_a_cache_or_to_the_browser_does_not_come_back(name: str) -> None:
    assert name.lower().encode() not in dict(response_headers([(name.encode(), b"x")]))


def test_upstream_cannot_answer_as_the_gateway() -> None:
    assert b"x-gateway-problem" not in dict(
        response_headers([(b"X-Gateway-Problem", b"signed_out")])
    )


FORGED = {"Forwarded": "for=198.51.100.1", "X-Real-IP": "198.51.100.1"}


@pytest.mark.parametrize(
    ("client", "node"), [("203.0.113.9", "203.0.113.9"), ("2001:db8::9", '"[2001:db8::9]"')]
)
def test_client_address_is_sent_only_to_upstreams_that_may_know_it(
    gateway: Gateway, client: str, node: str
) -> None:
    headers = {**FORGED, "X-Forwarded-For": f"198.51.100.1, {client}"}
    told = gateway.get("told/x", headers=headers).json()["headers"]
    assert [value for name, value in told if name == "x-forwarded-for"] == [client]
    [forwarded] = [value for name, value in told if name == "forwarded"]
    assert forwarded.startswith(f"for={node};host=")
    assert "198.51.100.1" not in json.dumps(told)
    untold = json.dumps(gateway.get("echo/x", headers=headers).json()["headers"])
    assert client not in untold
    assert "for=unknown" in untold


def test_overlong_header_is_checked_and_not_cached() -> None:
    before = 0
    tracemalloc.start()
    try:
        for turn in range(100):
            if turn == 1:
                before, _ = tracemalloc.get_traced_memory()
            long = b"%d-%b" % (turn, b"x" * 10_000)
            value = b"public, " + long
            response = [(b"x-" + long, b""), (b"cache-control", value), (b"vary", long)]
            found = dict(response_headers(response))
            assert found[b"cache-control"] == b"private, " + long
            assert found[b"vary"] == long + b", Cookie"
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000


def test_length_of_a_body_in_chunks_does_not_come_back_whatever_connection_names() -> None:
    response = [
        (b"Connection", b"Transfer-Encoding"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"3"),
    ]
    assert not {b"content-length", b"transfer-encoding"} & dict(response_headers(response)).keys()
