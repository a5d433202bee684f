"""No header that leaves the gateway leads a program outside of the upstream.

Whatever an upstream writes, and whichever way a program reads it: three parsers of URLs that know
nothing of each other, and for `Link` the ways in which programs are known to cut it.
"""

import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urljoin

import ada_url
import httpx2
import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import parse_header_links

from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.calls.response_addresses import rewrite_addresses
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.rules import url_rules
from gateway_site.rules.headers import ADDRESSES, REFERENCES, Headers
from gateway_site.rules.problems import Problem
from gateway_site.rules.upstream import Upstream, read_upstreams
from gateway_site.transport.pool import Owner
from sessions_kms import SessionStore
from tests.gateway_site.support.url_strategies import ABSOLUTE
from tests.gateway_site.support.url_strategies import REFERENCES as ADDRESSES_GIVEN

HOST = "127.0.0.1:8000"
BASE = f"https://{HOST}/gateway/{{}}/a/b"
LISTED = "files.example.com"
COMMON = {"PROVIDER": "corp", "REDIRECT_HOSTS": LISTED}
UPSTREAMS = read_upstreams(
    {f"UPSTREAM_API_{key}": value for key, value in COMMON.items()}
    | {f"UPSTREAM_ROOT_{key}": value for key, value in COMMON.items()}
    | {
        "UPSTREAM_API_URL": "https://api.example.com:8443/base/v1",
        "UPSTREAM_ROOT_URL": "http://localhost",
    }
)
STATUSES = st.sampled_from([200, 201, 202, 204, 300, 301, 302, 303, 304, 305, 307, 308, 401, 404])
# What an upstream may write that knows its own address, the gateway's, and how programs read.
OWN = (
    "https://api.example.com:8443/base/v1/", "http://api.example.com:8443/base/v1/x",
    "https://localhost/", "http://localhost:80/x", "https://localhost:443/x", f"https://{HOST}/",
    f"https://{HOST}/gateway/api/", f"http://{HOST}/gateway/root/x", f"https://{LISTED}/x",
    f"https://{LISTED}:8443/x", "//evil.example/x", "https://evil.example/x", "?page=2", "#x", "x",
)  # fmt: skip
GIVEN = st.one_of(st.sampled_from(OWN), ADDRESSES_GIVEN, ABSOLUTE)
LINK_PARTS = st.one_of(
    GIVEN,
    GIVEN.map("<{}>; rel=next".format),
    GIVEN.map('<{}>; rel="next"'.format),
    GIVEN.map('; anchor="{}"'.format),
    GIVEN.map('; title="{}"'.format),
    st.sampled_from(["<", ">", ";", ",", '"', "'", "\\", " ", "=", "rel", "title", "*", "\t"]),
    st.sampled_from([', <https://evil.example/>; rel="next"', ", https://evil.example/; rel=next"]),
)
# Links that follow the grammar, and hide other links in what they may hold.
HIDDEN = st.sampled_from(
    [
        "", "x", "https://evil.example/", ";https://evil.example/", ",https://evil.example/;rel=next",
        "?a=,https://evil.example/;rel=next;", ", <https://evil.example/>; rel=next",
    ]
)  # fmt: skip
WITHIN = st.sampled_from(["x", "?page=2"])
PARAMETERS = st.tuples(st.sampled_from(["rel", "title", "anchor"]), HIDDEN).map(
    '; {0[0]}="{0[1]}"'.format
)
LINKS = st.tuples(WITHIN, HIDDEN, st.lists(PARAMETERS, max_size=2).map("".join)).map(
    "<{0[0]}{0[1]}>{0[2]}".format
)
ODD = st.lists(LINK_PARTS, max_size=6).map("".join)
FIELDS = st.lists(st.one_of(ODD, LINKS), min_size=1, max_size=3)


def call(upstream: Upstream, *, client: bool = True, method: str = "GET") -> UpstreamCall:
    return UpstreamCall(
        request=RequestFactory(HTTP_HOST=HOST).get("/gateway/api/a/b", secure=True),
        caller=Caller(SessionStore(), grant=cast("Any", object()) if client else None),
        owner=Owner("session", "person"),
        upstream=upstream,
        method=method,
        target=url_rules.target_url(upstream, "/a/b", b"x=1"),
        headers=[],
        framing=[],
    )


def header(text: str) -> bytes:
    """Return text as a header's value, without what no response can have in one."""
    return re.sub(r"[^\t -~\x80-\xff]", "", text).strip(" \t").encode("latin-1")


def by_the_library(base: str, reference: str) -> httpx2.URL:
    return httpx2.URL(urljoin(base, reference))


def by_httpx2(base: str, reference: str) -> httpx2.URL:
    return httpx2.URL(base).join(reference)


def by_a_browser(base: str, reference: str) -> httpx2.URL:
    return httpx2.URL(ada_url.URL(reference, base=base).href)


READERS = (by_the_library, by_httpx2, by_a_browser)


def assert_within(upstream: Upstream, reference: str) -> None:
    """Assert that every program that goes there shows its credentials to this upstream alone."""
    base = BASE.format(upstream.name)
    for read in READERS:
        url = read(base, reference)
        assert (url.scheme, url.netloc.decode(), url.userinfo) == ("https", HOST, b""), reference
        assert url_rules.split_path(url.raw_path.decode().partition("?")[0])[0] == upstream.name


def link_targets(value: str) -> Iterator[str]:
    """Yield each address that a program may take from a `Link` header."""
    yield from (each["url"] for each in parse_header_links(value))
    response = httpx2.Response(200, headers=[(b"Link", value.encode("latin-1"))])
    yield from (each["url"] for each in response.links.values())
    yield from re.findall(r"<([^>]*)>", value)
    yield from re.findall(r'anchor="([^"]*)"', value)
    # Cut at each comma, then at each semicolon, as many a script does.
    yield from (part.split(";")[0].strip(" \t<>\"'") for part in value.split(","))


def forwarded_headers(
    asked: UpstreamCall, status: int, came: Headers
) -> dict[bytes, list[str]] | None:
    """Return what leaves, by name; None for a redirect that is not passed on."""
    try:
        found = rewrite_addresses(asked, status, came)
    except Problem as caught:
        problem = caught
    else:
        named: dict[bytes, list[str]] = {}
        for name, value in found:
            named.setdefault(name, []).append(value.decode("latin-1"))
        assert named.keys() <= ADDRESSES
        return named
    assert (problem.status, problem.code) == (502, "misdirected")
    assert status in range(300, 400)
    return None


@given(STATUSES, st.lists(GIVEN, min_size=1, max_size=2), st.sampled_from(["GET", "HEAD", "POST"]))
def test_location_points_to_the_upstream_or_a_listed_host(
    status: int, references: list[str], method: str
) -> None:
    for upstream in UPSTREAMS.values():
        came = [(b"location", header(each)) for each in references]
        found = forwarded_headers(call(upstream, method=method), status, came) or {}
        for location in found.get(b"location", []):
            if location.startswith("/"):
                assert_within(upstream, location)
                continue
            assert status in range(300, 400)
            assert method in {"GET", "HEAD"}
            urls = [read(BASE.format(upstream.name), location) for read in READERS]
            assert {(url.scheme, url.netloc) for url in urls} == {("https", LISTED.encode())}


@given(
    st.sampled_from([*sorted(REFERENCES), b"content-location"]),
    STATUSES,
    st.lists(GIVEN, min_size=1, max_size=2),
)
def test_other_reference_points_to_the_upstream_or_is_dropped(
    name: bytes, status: int, references: list[str]
) -> None:
    for upstream in UPSTREAMS.values():
        came = [(name, header(each)) for each in references]
        found = forwarded_headers(call(upstream, client=False), status, came) or {}
        for value in found.get(name, []):
            assert_within(upstream, value)


@given(st.sampled_from(["0;url={}", "5; URL = '{}'", '1, url="{}"', "{}", "1 {}", "1; {}"]), GIVEN)
def test_refresh_header_points_to_the_upstream_or_is_dropped(form: str, reference: str) -> None:
    for upstream in UPSTREAMS.values():
        came = [(b"refresh", header(form.format(reference)))]
        found = forwarded_headers(call(upstream, client=False), 200, came) or {}
        for value in found.get(b"refresh", []):
            seconds, _, address = value.partition("; url=")
            assert seconds.isdecimal()
            assert_within(upstream, address)


@pytest.mark.slow
@given(FIELDS)
def test_links_lead_to_the_upstream_however_they_are_read(fields: list[str]) -> None:
    for upstream in UPSTREAMS.values():
        came = [(b"link", header(each)) for each in fields]
        found = forwarded_headers(call(upstream, client=False), 200, came) or {}
        # A program may read each field, or all of them as one.
        values = found.get(b"link", [])
        for value in [*values, ", ".join(values)] if values else []:
            for address in link_targets(value):
                assert_within(upstream, address)


def test_addresses_of_one_response_are_resolved_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is relative to the call's own address, which may be long."""
    asked = call(UPSTREAMS["root"])
    asked.target += "a" * 8000
    resolved: list[str] = []
    within = url_rules.gateway_address

    def noting(upstream: Upstream, base: str, reference: str, *, public: str) -> str | None:
        resolved.append(reference)
        return within(upstream, base, reference, public=public)

    monkeypatch.setattr(url_rules, "gateway_address", noting)
    found = forwarded_headers(asked, 200, [(b"link", b", ".join([b"<#>; rel=next"] * 60))])
    assert found is not None
    assert found[b"link"][0].count("rel=next") == len(resolved) == 4


@pytest.mark.parametrize("reference", ["/" * 400, "/a" * 300, "x" * 20_481, "?" + "a" * 20_480])
def test_overlong_reference_is_not_resolved(reference: str) -> None:
    with pytest.raises(url_rules.UnsafeAddress, match="too long"):
        url_rules.resolve_reference("https://api.example.com/a", reference)


@pytest.mark.parametrize("host", ["[::1]@[" + ":" * 20_000 + "x]", "a." * 128 + "b", "u@b.c"])
def test_host_that_is_overlong_or_behind_a_name_is_not_compared_with_a_pattern(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 20 KB took seconds, in which the event loop served nobody."""
    pattern, compared = url_rules.PLAIN_HOST, list[int]()

    class Pattern:
        def fullmatch(self, text: str) -> re.Match[str] | None:
            compared.append(len(text))
            return pattern.fullmatch(text)

    monkeypatch.setattr(url_rules, "PLAIN_HOST", Pattern())
    with pytest.raises(url_rules.UnsafeAddress):
        url_rules.resolve_reference("https://api.example.com/a", f"http://{host}/")
    assert not compared
    assert url_rules.resolve_reference("https://api.example.com/a", "http://[::1]/")
    assert compared == [3]


def test_path_that_the_gateway_would_not_take_is_not_looked_at() -> None:
    with pytest.raises(url_rules.UnsafeAddress, match="too long"):
        url_rules.gateway_address(
            UPSTREAMS["root"], "http://localhost/a", "/" + "a" * url_rules.MAX_PATH
        )


def test_what_connection_names_does_not_leave() -> None:
    came = [(b"connection", b"link, location"), (b"link", b"<x>"), (b"location", b"x")]
    assert forwarded_headers(call(UPSTREAMS["root"]), 201, came) == {}
    assert forwarded_headers(call(UPSTREAMS["root"]), 302, came) is None
