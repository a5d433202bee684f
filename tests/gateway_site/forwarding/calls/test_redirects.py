"""Redirects are returned in the gateway's terms, or not at all."""

import json
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.rules import url_rules
from gateway_site.rules.url_rules import UnsafeAddress
from tests.gateway_site.support.declared_upstreams import ROOT_UPSTREAM, UPSTREAM
from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.problems import assert_problem
from tests.gateway_site.support.url_strategies import ADDRESSES
from tests.support.cases import each_case

NAVIGATION = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
SCRIPT = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}


def redirect(
    gateway: Gateway,
    location: str,
    *,
    status: int = 302,
    method: str = "GET",
    name: str = "location",
    headers: dict[str, str] | None = None,
) -> requests.Response:
    location = location.replace("{upstream}", f"http://127.0.0.1:{gateway.upstream_port}")
    with gateway.client() if method == "GET" else gateway.writer() as client:
        return client.request(
            method,
            f"{gateway.url}/gateway/echo/answer",
            params={"status": str(status), "headers": json.dumps([[name, location]])},
            headers=headers,
            allow_redirects=False,
            timeout=10,
        )


@each_case(
    ("location", "expected"),
    [
        ("{upstream}/a?b=1#c", "/gateway/echo/a?b=1#c"),
        ("{upstream}", "/gateway/echo/"),
        ("/a/", "/gateway/echo/a/"),
        ("a", "/gateway/echo/a"),
        ("../a", "/gateway/echo/a"),
        ("?b", "/gateway/echo/answer?b"),
        ("/caf%C3%A9", "/gateway/echo/caf%C3%A9"),
    ],
)
@each_case("headers", [{}, NAVIGATION], ids=["program", "person"])
def test_redirect_within_the_upstream_stays_in_the_gateway(
    gateway: Gateway, location: str, expected: str, headers: dict[str, str]
) -> None:
    response = redirect(gateway, location, headers=headers)
    assert (response.status_code, response.headers["Location"]) == (302, expected)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_redirect_to_the_forwarded_scheme_stays_within_the_upstream(
    gateway: Gateway, scheme: str
) -> None:
    """As FastAPI behind uvicorn: it is asked by http, and redirects to its own host by https.

    https://www.uvicorn.org/deployment/#proxies-and-forwarded-headers
    """
    told = {"X-Forwarded-Proto": scheme}
    response = gateway.get("echo/routed/items", headers=told, allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (
        307,
        "/gateway/echo/routed/items/",
    )
    response = gateway.get("echo/routed/listed", headers=told, allow_redirects=False)
    assert (response.status_code, response.headers["X-Scheme"]) == (307, scheme)
    assert response.headers["Location"] == "/gateway/echo/routed/items/"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_elsewhere_is_returned_to_a_script_of_a_page(
    gateway: Gateway, status: int
) -> None:
    before = gateway.state()["calls"] if gateway.state() else 0
    location = "https://files.example.com/x?signature=1"
    response = redirect(gateway, location, status=status, headers=SCRIPT)
    assert response.status_code == status
    assert response.headers["Location"] == "https://files.example.com/x?signature=1"
    assert gateway.state()["calls"] == before + 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
def test_redirect_of_a_program_with_a_cookie_points_only_to_listed_hosts(
    gateway: Gateway, status: int
) -> None:
    """A program that writes its own `Cookie` header may send it wherever it is led."""
    location = "https://files.example.com/x"
    assert_problem(redirect(gateway, location, status=status), 502, "misdirected")
    headers = json.dumps([["location", location]])
    for upstream, comes in (("echo", 502), ("stored", status)):
        params = {"status": str(status), "headers": headers}
        response = gateway.get(f"{upstream}/answer", params=params, allow_redirects=False)
        assert response.status_code == comes
        assert response.headers.get("Location") == (location if comes == status else None)


@each_case("status", [301, 302, 303, 307, 308])
@each_case(
    ("location", "method", "headers"),
    [
        ("https://evil.example/", "GET", NAVIGATION),
        ("//evil.example/", "GET", NAVIGATION),
        ("https://evil.example/", "GET", {}),
        ("https://evil.example/", "POST", SCRIPT),
        ("https://evil.example/", "DELETE", SCRIPT),
        ("http://evil.example/", "GET", SCRIPT),
        ("javascript:alert(1)", "GET", SCRIPT),
        ("data:text/html,x", "GET", SCRIPT),
        ("https:evil.example", "GET", SCRIPT),
        ("https:/evil.example", "GET", SCRIPT),
        ("https://user@evil.example/", "GET", SCRIPT),
        ("https://evil.example\\@127.0.0.1/", "GET", SCRIPT),
        ("/\\evil.example", "GET", SCRIPT),
        ("https://127.0.0.1/accounts/logout/", "GET", SCRIPT),
        ("{upstream}@evil.example/", "GET", NAVIGATION),
        ("{upstream}/a%2fb", "GET", SCRIPT),
        ("{upstream}/;x", "GET", NAVIGATION),
    ],
)
def test_redirect_that_must_not_be_passed_on_is_a_bad_gateway(
    gateway: Gateway, status: int, location: str, method: str, headers: dict[str, str]
) -> None:
    response = redirect(gateway, location, status=status, method=method, headers=headers)
    assert_problem(response, 502, "misdirected")
    assert "Location" not in response.headers


def test_redirect_without_location_is_a_bad_gateway(gateway: Gateway) -> None:
    assert_problem(redirect(gateway, "x", name="x-other"), 502, "misdirected")


def test_location_of_something_created_is_rewritten_too(gateway: Gateway) -> None:
    response = redirect(gateway, "{upstream}/things/1", status=201, method="POST")
    assert response.headers["Location"] == "/gateway/echo/things/1"
    response = redirect(gateway, "http://evil.example/", status=201, method="POST")
    assert response.status_code == 201
    assert "Location" not in response.headers


def test_content_location_is_rewritten_or_left_out(gateway: Gateway) -> None:
    response = redirect(gateway, "{upstream}/things/1", status=200, name="content-location")
    assert response.headers["Content-Location"] == "/gateway/echo/things/1"
    response = redirect(gateway, "https://x.example/", status=200, name="content-location")
    assert "Content-Location" not in response.headers


@given(
    st.one_of(ADDRESSES, st.text(max_size=30), ADDRESSES.map("https://api.example.com{}".format))
)
def test_whatever_counts_as_within_is_within(reference: str) -> None:
    for upstream in (UPSTREAM, ROOT_UPSTREAM):
        base = url_rules.target_url(upstream, "/a/b", b"")
        try:
            found = url_rules.gateway_address(upstream, base, reference)
        except (UnsafeAddress, UnicodeEncodeError):  # a header's characters are bytes
            continue
        if found is None:
            continue
        assert found.isascii()
        parts = urlsplit(found)
        assert (parts.scheme, parts.netloc) == ("", "")
        assert url_rules.split_path(parts.path)[0] == upstream.name
