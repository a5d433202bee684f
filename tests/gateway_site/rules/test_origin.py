"""Who may make a call: CSRF, fetch metadata, sign-in."""

from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.problems import assert_problem
from tests.support.cases import each_case

SAME = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


def assert_rejected(gateway: Gateway, code: str, headers: dict[str, str]) -> None:
    before = gateway.state().get("calls", 0)
    assert_problem(gateway.get("echo/x", headers=headers), 403, code)
    assert gateway.state().get("calls", 0) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        SAME,
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        SAME | {"Sec-Fetch-Dest": "image"},
    ],
    ids=["no browser", "fetch", "typed address", "image"],
)
def test_own_requests_are_admitted(gateway: Gateway, headers: dict[str, str]) -> None:
    assert gateway.get("echo/x", headers=headers).status_code == 200


def test_own_origin_is_admitted(gateway: Gateway) -> None:
    assert gateway.get("echo/x", headers={"Origin": gateway.url}).status_code == 200


@each_case(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "CROSS-SITE"},
        {"Sec-Fetch-Site": "same-origin, cross-site"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "anything"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://[bad"},
        {"Origin": ""},
        SAME | {"Origin": "https://evil.example"},
    ],
    ids=str,
)
def test_requests_of_other_sites_are_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    assert_rejected(gateway, "cross_site", headers)


def test_navigation_from_another_site_is_refused_with_a_page(gateway: Gateway) -> None:
    before = gateway.state().get("calls", 0)
    navigation = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    response = gateway.get("echo/x", headers={"Sec-Fetch-Site": "cross-site"} | navigation)
    assert (response.status_code, response.headers["X-Gateway-Problem"]) == (403, "cross_site")
    assert response.headers["Content-Type"].startswith("text/html")
    assert gateway.state().get("calls", 0) == before


def test_own_origin_led_over_another_site_is_refused(gateway: Gateway) -> None:
    assert_rejected(gateway, "cross_site", {"Origin": gateway.url, "Sec-Fetch-Site": "cross-site"})


@pytest.mark.parametrize(
    "destination",
    ["script", "style", "worker", "sharedworker", "serviceworker", "iframe", "object", "manifest"],
)
def test_responses_cannot_become_part_of_a_page(gateway: Gateway, destination: str) -> None:
    assert_rejected(gateway, "destination", SAME | {"Sec-Fetch-Dest": destination})


# CSRF


def test_unsafe_call_needs_the_token(gateway: Gateway) -> None:
    before = gateway.state().get("calls", 0)
    with gateway.client() as client:
        url = f"{gateway.url}/gateway/echo/x"
        client.get(f"{gateway.url}/gateway/", timeout=10)
        for token in (None, "", "x" * 32, "x" * 64):
            headers = {} if token is None else {"X-CSRFToken": token}
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                response = client.request(method, url, headers=headers, timeout=10)
                assert_problem(response, 403, "forbidden")
    assert gateway.state().get("calls", 0) == before


def test_token_in_a_form_is_not_enough(gateway: Gateway) -> None:
    with gateway.writer() as client:
        token = client.headers.pop("X-CSRFToken")
        url = f"{gateway.url}/gateway/echo/x"
        response = client.post(url, data={"csrfmiddlewaretoken": token}, timeout=10)
    assert_problem(response, 403, "forbidden")


def test_token_without_its_cookie_is_refused(gateway: Gateway) -> None:
    with gateway.writer() as client:
        del client.cookies["gateway_csrftoken"]
        response = client.post(f"{gateway.url}/gateway/echo/x", timeout=10)
    assert_problem(response, 403, "forbidden")


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_token_of_another_origin_is_refused(gateway: Gateway, origin: str) -> None:
    with gateway.writer() as client:
        headers = {"Origin": origin}
        response = client.post(f"{gateway.url}/gateway/echo/x", headers=headers, timeout=10)
    assert_problem(response, 403, "forbidden")


def test_over_https_the_origin_must_be_named(gateway: Gateway) -> None:
    with gateway.writer() as client:
        client.headers["X-Forwarded-Proto"] = "https"
        del client.headers["Origin"]
        url = f"{gateway.url}/gateway/echo/x"
        assert_problem(client.post(url, timeout=10), 403, "forbidden")
        client.headers["Origin"] = gateway.url.replace("http:", "https:")
        assert client.post(url, timeout=10).status_code == 200


def test_index_names_the_token_and_the_upstreams(gateway: Gateway) -> None:
    response = gateway.get("")
    told = response.json()
    assert told["csrf_header"] == "X-CSRFToken"
    assert len(told["csrf_token"]) == 64
    assert "echo" in told["upstreams"]
    assert response.headers["Cache-Control"] == "no-store"
    assert "gateway_csrftoken" in response.cookies


def test_index_is_for_this_origin_and_for_reading(gateway: Gateway) -> None:
    assert_problem(gateway.get("", headers={"Sec-Fetch-Site": "cross-site"}), 403, "cross_site")
    with gateway.writer() as client:
        response = client.post(f"{gateway.url}/gateway/", timeout=10)
    assert_problem(response, 405, "method_not_allowed")


# Signed out


@pytest.mark.parametrize("path", ["", "echo/x", "nothing/x"])
def test_signed_out_program_gets_a_problem(gateway: Gateway, path: str) -> None:
    response = requests.get(f"{gateway.url}/gateway/{path}", timeout=10)
    problem = assert_problem(response, 401, "signed_out")
    assert problem["sign_in_url"] == "/accounts/login/"
    assert response.headers["WWW-Authenticate"] == 'Cookie realm="gateway"'
    assert not response.cookies


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Mode": "navigate"}, {"Accept": "text/html,*/*"}])
def test_signed_out_person_is_led_to_the_sign_in(gateway: Gateway, headers: dict[str, str]) -> None:
    called = "/gateway/echo/caf%C3%A9/x?a=1%262&b=%2F"
    url = f"{gateway.url}{called}"
    response = requests.get(url, headers=headers, timeout=10, allow_redirects=False)
    led = urlsplit(response.headers["Location"])
    assert (response.status_code, led.path) == (302, "/accounts/login/")
    onward = urlsplit(parse_qs(led.query)["next"][0])
    assert (onward.path, parse_qs(onward.query)) == ("/continue/", {"to": [called]})
    with gateway.client() as client:
        page = client.get(f"{gateway.url}{onward.path}?{onward.query}", timeout=10)
    assert f'href="{called.replace("&", "&amp;")}"' in page.text


@pytest.mark.parametrize(
    "to",
    [
        "/",
        "//evil.example/gateway/",
        "/gateway",
        "/accounts/logout/",
        "/gateway/../accounts/logout/",  # as a browser follows it
        "/gateway/echo/%2e%2e/%2e./accounts/logout/",
        "/gateway/echo/\\..\\..\\accounts/logout/",
        "/gateway//evil.example/",
    ],
)
def test_page_that_redirects_to_calls_redirects_nowhere_else(gateway: Gateway, to: str) -> None:
    with gateway.client() as client:
        page = client.get(f"{gateway.url}/continue/", params={"to": to}, timeout=10)
    assert page.status_code == 404


@pytest.mark.parametrize("key", ["x", "a" * 32, "'; --", "../../x", "é"])
def test_cookie_of_no_session_is_signed_out(gateway: Gateway, key: str) -> None:
    with gateway.client() as client:
        header = {"Cookie": f"gateway_sessionid={key}".encode()}
        client.cookies.clear()
        response = client.get(f"{gateway.url}/gateway/echo/x", headers=header, timeout=10)
    assert_problem(response, 401, "signed_out")


def test_deactivated_person_is_signed_out(gateway: Gateway) -> None:
    with gateway.switch("active/0", "active/1"):
        assert_problem(gateway.get("echo/x"), 401, "signed_out")
