"""Accepted URLs are parsed in the same way by independent parsers.

The standard library's, the HTTP client's own (RFC 3986) and ada's, which is the one of
browsers and of Node (WHATWG): the same origin, below the same prefix, no dots to resolve.
"""

from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import ada_url
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.rules import url_rules
from gateway_site.rules.url_rules import UnsafeAddress
from tests.gateway_site.support.declared_upstreams import ROOT_UPSTREAM, UPSTREAM
from tests.gateway_site.support.url_strategies import ABSOLUTE, ADDRESSES, REFERENCES
from tests.support.cases import each_case

UPSTREAMS = (UPSTREAM, ROOT_UPSTREAM)
GATEWAY = "https://gateway.example"


class Read(NamedTuple):
    """A URL as a parser reads it; the port is the one that is called."""

    scheme: str
    host: str
    port: int
    path: str


def by_the_library(url: str) -> Read:
    parts = urlsplit(url)
    return Read(parts.scheme, parts.hostname or "", parts.port or 443, parts.path)


def by_httpx2(url: str) -> Read:
    parsed = httpx2.URL(url)
    return Read(
        parsed.scheme, parsed.host, parsed.port or 443, parsed.raw_path.decode().split("?")[0]
    )


def by_a_browser(url: str) -> Read:
    parsed = ada_url.URL(url)
    assert not parsed.username
    assert not parsed.password
    port = int(parsed.port) if parsed.port else 443
    return Read(parsed.protocol.removesuffix(":"), parsed.hostname, port, parsed.pathname)


def readings(url: str) -> set[tuple[str, str, int]]:
    """Return the origins that parsers read, of those that go there at all."""
    found = set()
    for read in READERS:
        try:
            found.add(read(url)[:3])
        except (ValueError, httpx2.InvalidURL):
            continue
    return found


READERS = (by_the_library, by_httpx2, by_a_browser)


@given(ADDRESSES, ADDRESSES)
def test_whatever_passes_is_read_alike_by_all(rest: str, query: str) -> None:
    for upstream in UPSTREAMS:
        try:
            _, path = url_rules.split_path(f"/gateway/{upstream.name}/{rest}")
            target = url_rules.target_url(upstream, path, query.encode())
        except UnsafeAddress:
            continue
        expected = Read(*by_the_library(upstream.origin)[:3], upstream.prefix + path)
        assert {read(target) for read in READERS} == {expected}


@given(ADDRESSES)
def test_nothing_is_left_to_resolve_however_often_it_is_decoded(rest: str) -> None:
    try:
        _, path = url_rules.split_path(f"/gateway/api/{rest}")
    except UnsafeAddress:
        return
    for _ in range(3):
        assert not {".", ".."} & set(path.replace("\\", "/").split("/"))
        found = ada_url.URL(f"https://api.example.com{path.replace('#', '%23')}").pathname
        assert found.count("/") == max(1, path.count("/"))
        path = unquote(path)


@given(REFERENCES)
def test_redirect_within_the_upstream_points_to_the_gateway(reference: str) -> None:
    for upstream in UPSTREAMS:
        base = url_rules.target_url(upstream, "/a/b", b"")
        try:
            found = url_rules.gateway_address(upstream, base, reference)
        except UnsafeAddress:
            continue
        if found is None:
            continue
        at = ada_url.URL(found, base=f"{GATEWAY}/gateway/{upstream.name}/a/b")
        assert at.origin == GATEWAY
        assert at.pathname == urlsplit(found).path
        assert url_rules.split_path(at.pathname)[0] == upstream.name


@given(st.one_of(REFERENCES, ABSOLUTE))
def test_redirect_elsewhere_is_read_alike_by_all(reference: str) -> None:
    """What is passed on is the gateway's own reading, and no client may have another."""
    try:
        found = url_rules.resolve_reference(url_rules.target_url(UPSTREAM, "/a/b", b""), reference)
    except UnsafeAddress:
        return
    if urlsplit(found).scheme == "https":  # Others are not passed on.
        assert len(readings(found)) == 1


@each_case(
    "host",
    [
        "gateway%2eexample",
        "%67ateway.example",
        "gateway\xe3\x80\x82example",
        "gateway.example.",
        "2130706433",
        "0x7f.1",
        "127.0.0.01",
        "127.1",
    ],
)
def test_own_host_in_another_spelling_is_refused(host: str) -> None:
    with pytest.raises(UnsafeAddress):
        url_rules.resolve_reference("https://api.example.com/a", f"https://{host}/x")


@each_case(
    "host",
    [
        "example",
        "a.b-c.example:8443",
        "my_bucket.example",
        "xn--bcher-kva.example",
        "127.0.0.1",
        "[::1]",
    ],
)
def test_plain_host_is_taken(host: str) -> None:
    assert (
        url_rules.resolve_reference("https://api.example.com/a", f"https://{host}/x")
        == f"https://{host}/x"
    )


@each_case("hostile", ["/..;/x", "/%2e%2e/x", "/a//b", "/a\\..\\b", "/a/%2f..", "/."])
def test_parsers_would_disagree_on_what_is_refused(hostile: str) -> None:
    with pytest.raises(UnsafeAddress):
        url_rules.split_path(f"/gateway/api{hostile}")
    resolved = urljoin("https://api.example.com/", hostile)
    read = {each(resolved).path for each in (by_the_library, by_a_browser)}
    assert len(read) > 1 or {".", "..", "", "..;"} & set(unquote(hostile).split("/")[1:])
