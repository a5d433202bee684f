"""The rules of URLs as properties: any input is rejected or leads to the upstream."""

import posixpath
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.rules import url_rules
from gateway_site.rules.upstream import Upstream, read_upstreams
from gateway_site.rules.url_rules import UnsafeAddress
from gateway_site.transport.messages import Request, build_request
from tests.gateway_site.support.declared_upstreams import ROOT_UPSTREAM, UPSTREAM
from tests.gateway_site.support.url_strategies import ADDRESSES
from tests.support.cases import each_case


def read(target: str) -> Request:
    return build_request(UPSTREAM, "GET", target, [], _no_body())


async def _no_body() -> AsyncIterator[bytes]:
    yield b""


@given(ADDRESSES, ADDRESSES)
def test_whatever_passes_stays_within_the_upstream(rest: str, query: str) -> None:
    try:
        name, path = url_rules.split_path(f"/gateway/api/{rest}")
        target = url_rules.target_url(UPSTREAM, path, query.encode())
    except UnsafeAddress:
        return
    assert name == "api"
    written = read(target)
    assert (written.server.host, written.server.port) == ("api.example.com", 8443)
    assert written.server.has_tls
    verb, asked, line = written.head.split(b" ", 2)
    assert (verb, line) == (b"GET", b"HTTP/1.1\r\nhost: api.example.com:8443\r\n\r\n")
    assert asked.startswith(b"/base/v1/")
    # However often a server decodes it, and however it resolves dots, it stays below the base.
    decoded = asked.decode().partition("?")[0]
    for _ in range(3):
        assert posixpath.normpath(decoded.replace("\\", "/")).startswith("/base/v1")
        assert "//" not in decoded
        assert "\\" not in decoded
        assert not any(ord(character) < 32 for character in decoded)
        decoded = unquote(decoded)


@given(st.text(max_size=40))
def test_any_text_is_rejected_or_forwarded_unchanged(text: str) -> None:
    try:
        _, path = url_rules.split_path(f"/gateway/api/{text}")
    except UnsafeAddress:
        return
    target = url_rules.target_url(UPSTREAM, path, b"")
    assert target == f"https://api.example.com:8443/base/v1/{text}"
    assert text.isascii()


@given(ADDRESSES)
def test_name_is_taken_from_one_place_only(start: str) -> None:
    try:
        name, rest = url_rules.split_path(start)
    except UnsafeAddress:
        return
    assert start == f"/gateway/{name}{rest}"
    assert url_rules.NAME.fullmatch(name)


@given(st.binary(max_size=60))
def test_any_query_is_refused_or_keeps_its_meaning(query: bytes) -> None:
    try:
        target = url_rules.target_url(ROOT_UPSTREAM, "/x", query)
    except UnsafeAddress:
        return
    parts = urlsplit(target)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "api.example.com", "/x")
    assert not parts.fragment
    assert unquote(parts.query, "latin-1") == unquote(query.decode("latin-1"), "latin-1")


@each_case(
    ("rest", "allowed"),
    [
        ("/a", True),
        ("/a/", True),
        ("/a/x", True),
        ("/b/c/d", True),
        ("/ab", False),
        ("/b", False),
        ("/b/", False),
        ("/b/cd", False),
        ("/", False),
        ("", False),
        ("/A", False),
    ],
)
def test_prefixes_end_on_the_border_of_a_segment(rest: str, allowed: bool) -> None:
    assert url_rules.is_allowed(UPSTREAM, rest) is allowed
    assert url_rules.is_allowed(ROOT_UPSTREAM, rest)


@each_case(
    "target",
    [
        "https://api.example.com:8443/base/v10",
        "https://api.example.com:8443/base",
        "https://api.example.com:8443/base/v1/../x",
        "https://api.example.com:8443/",
        "https://api.example.com/base/v1/x",
        "http://api.example.com:8443/base/v1/x",
        "https://evil.example:8443/base/v1/x",
        "https://user@api.example.com:8443/base/v1/x",
        "https://api.example.com:8443@evil.example/base/v1/x",
        "https://API.example.com:8443/base/v1/x",
        "https://api.example.com:8443/base/v1/x#y",
        "https://api.example.com:8443/base/v1/é",
        "https://api.example.com:8443/base/v1/..",
        "https://api.example.com:8443/base/v1/.?x",
        "https://api.example.com:8443/base/v1/a b",
        "https://api.example.com:8443/base/v1/a\r\nx: y",
        "https://api.example.com:8443/base/v1/a\\b",
        "https://api.example.com:8443/base/v1/a;b",
        "https://api.example.com:8443/base/v1?a b",
        "https://api.example.com:8443/base/v1?a\n",
        "https://api.example.com:8443/base/v1/a\n",
    ],
)
def test_second_check_rejects_what_the_first_would_have_accepted(target: str) -> None:
    with pytest.raises(UnsafeAddress):
        read(target)


@pytest.mark.parametrize(
    "target",
    ["https://api.example.com:8443/base/v1", "https://api.example.com:8443/base/v1?x=1"],
)
def test_second_check_accepts_the_base_itself(target: str) -> None:
    asked = target.removeprefix("https://api.example.com:8443").encode()
    assert read(target).head.startswith(b"GET %b HTTP/1.1\r\n" % asked)


PLAIN_UPSTREAM = read_upstreams(
    {"UPSTREAM_PLAIN_URL": "http://localhost:8000", "UPSTREAM_PLAIN_PROVIDER": "corp"}
)["plain"]


@each_case(
    ("upstream", "reference", "found"),
    [
        (PLAIN_UPSTREAM, "http://localhost:8000/x", "/gateway/plain/x"),
        (PLAIN_UPSTREAM, "https://localhost:8000/x", "/gateway/plain/x"),
        (PLAIN_UPSTREAM, "https://localhost:8000", "/gateway/plain/"),
        (PLAIN_UPSTREAM, "https://LOCALHOST:8000/x", "/gateway/plain/x"),
        (PLAIN_UPSTREAM, "https://localhost/x", None),
        (PLAIN_UPSTREAM, "http://localhost/x", None),
        (PLAIN_UPSTREAM, "https://localhost:8001/x", None),
        (PLAIN_UPSTREAM, "ftp://localhost:8000/x", None),
        (PLAIN_UPSTREAM, "ws://localhost:8000/x", None),
        (PLAIN_UPSTREAM, "https://127.0.0.1:8000/x", None),
        (ROOT_UPSTREAM, "https://api.example.com/x", "/gateway/root/x"),
        (ROOT_UPSTREAM, "http://api.example.com/x", "/gateway/root/x"),
        (ROOT_UPSTREAM, "http://api.example.com:443/x", "/gateway/root/x"),
        (ROOT_UPSTREAM, "https://api.example.com:80/x", "/gateway/root/x"),
        (ROOT_UPSTREAM, "https://api.example.com:8443/x", None),
        (ROOT_UPSTREAM, "https://api.example.com:0/x", None),
        (ROOT_UPSTREAM, "https://a.api.example.com/x", None),
        (UPSTREAM, "https://api.example.com:8443/base/v1/x", "/gateway/api/x"),
        (UPSTREAM, "http://api.example.com:8443/base/v1/x", "/gateway/api/x"),
        (UPSTREAM, "https://api.example.com/base/v1/x", None),
        (UPSTREAM, "https://api.example.com:8443/base/v10", None),
        (UPSTREAM, "https://api.example.com:8443/base", None),
        # By X-Forwarded-Host and X-Forwarded-Prefix.
        (UPSTREAM, "https://gateway.example/sub/gateway/api/x?y#z", "/gateway/api/x?y#z"),
        (UPSTREAM, "http://gateway.example/sub/gateway/api", "/gateway/api"),
        (UPSTREAM, "https://gateway.example/sub/gateway/api2/x", None),
        (UPSTREAM, "https://gateway.example/gateway/api/x", None),
        (UPSTREAM, "https://gateway.example/sub/accounts/logout/", None),
        (UPSTREAM, "https://gateway.example:8443/sub/gateway/api/x", None),
    ],
)
def test_address_is_compared_with_the_host_and_port_sent_to_the_upstream(
    upstream: Upstream, reference: str, found: str | None
) -> None:
    base = url_rules.target_url(upstream, "/a/b", b"")
    assert (
        url_rules.gateway_address(upstream, base, reference, public="gateway.example/sub") == found
    )
