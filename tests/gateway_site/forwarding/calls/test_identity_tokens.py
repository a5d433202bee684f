"""Calls of upstreams that get a token of the gateway's own, through a running gateway."""

import re
from typing import Any

import jwt
import pytest
import requests

from gateway_site.pages.upstreams import JWT
from tests.gateway_site.support.client_tokens import CLIENT_ID, Caller
from tests.gateway_site.support.gateways import LONG_ID, TOKEN, Gateway
from tests.gateway_site.support.problems import assert_problem
from tests.support.cases import each_case


def read(gateway: Gateway, response: requests.Response) -> dict[str, Any]:
    """Return the claims of the token that the upstream got, as it verifies them."""
    assert response.status_code == 200, response.text
    [sent] = [value for name, value in response.json()["headers"] if name == "authorization"]
    assert TOKEN not in response.text
    token = sent.removeprefix("Bearer ")
    key_set = jwt.PyJWKSet.from_dict(requests.get(jwks_uri(gateway), timeout=10).json())
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    claims: dict[str, Any] = jwt.decode(
        token,
        key_set[header["kid"]],
        [header["alg"]],
        {"require": ["exp", "iat", "sub", "client_id", "jti"], "verify_exp": False},
        audience=f"http://127.0.0.1:{gateway.upstream_port}",
        issuer=gateway.url,
    )
    return claims


def jwks_uri(gateway: Gateway) -> str:
    metadata = f"{gateway.url}/.well-known/oauth-authorization-server"
    found: str = requests.get(metadata, timeout=10).json()["jwks_uri"]
    assert found == f"{gateway.url}/.well-known/jwks.json"
    return found


def test_key_set_needs_no_session_and_may_be_cached(gateway: Gateway) -> None:
    for cookies in ({}, {"gateway_sessionid": gateway.keys[0]}, {"gateway_sessionid": "malformed"}):
        response = requests.get(jwks_uri(gateway), cookies=cookies, timeout=10)
        assert "Vary" not in response.headers
        assert set(response.headers["Cache-Control"].split(", ")) == {"public", "max-age=300"}
        assert "Set-Cookie" not in response.headers
        [key] = response.json()["keys"]
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_browser_is_named_by_its_account_for_a_minute(gateway: Gateway) -> None:
    claims = read(gateway, gateway.get("who/a"))
    assert claims["exp"] - claims["iat"] == 70
    assert (claims["sub"], claims["client_id"]) == ("corp|1", "gateway")
    assert claims["groups"] == ["sales"]
    # An unknown address is absent, and so is what was not asked for.
    assert claims.keys() == {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "groups"}
    assert read(gateway, gateway.get("who/a"))["jti"] != claims["jti"]


@pytest.mark.parametrize("client_id", [CLIENT_ID, "own", LONG_ID])
def test_client_is_named_by_its_whole_id(gateway: Gateway, client_id: str) -> None:
    caller = Caller.allowed(gateway, "who", client_id)
    claims = read(gateway, caller.call("who/a"))
    assert (claims["sub"], claims["client_id"]) == ("corp|1", client_id)


def test_rejected_token_is_neither_refreshed_nor_sent_again(gateway: Gateway) -> None:
    path = "guarded?token=token-of-the-person-2"
    before = gateway.state().get("/guarded", 0)
    response = gateway.get(f"who/{path}", headers={"X-Test-Refresh": "yes"})
    assert response.status_code == 401
    caller = Caller.allowed(gateway, "who")
    assert_problem(caller.call(f"who/{path}"), 502, "upstream_unauthorized")
    assert gateway.state()["/guarded"] - before == 2


@each_case(
    "name",
    [
        "Authorization",
        "X-Authorization",
        "Proxy-Authorization",
        "gateway-identity",
        "gateway_identity",
        "gateway.identity",
        "Gateway-Identity",
        "X-Forwarded-User",
        "X_Forwarded_User",
        "X.Forwarded.User",
        "X-Forwarded_User",
        "X-Remote-User",
        "X-Auth-Request-User",
    ],
)
def test_no_header_of_a_client_names_the_user(gateway: Gateway, name: str) -> None:
    request = b"GET /gateway/who/a HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nConnection: close\r\n"
    response = gateway.raw(request + f"{name}: Basic forged-by-a-client\r\n\r\n".encode())
    assert response.startswith(b"HTTP/1.1 200"), response
    assert b"forged-by-a-client" not in response
    assert b"Bearer ey" in response


def test_trial_page_hides_the_token_that_an_upstream_repeats(gateway: Gateway) -> None:
    # The space before it may be encoded.
    assert not JWT.sub("", "Bearer%20eyJh.eyJp.s-_").endswith("s-_")
    with gateway.client() as client:
        page = client.get(f"{gateway.url}/try/who/?call=1", timeout=10)
    assert page.status_code == 200
    assert "a token, not shown" in page.text
    assert "eyJ" not in page.text
    assert "names your account" in page.text


def test_token_is_in_no_log(gateway: Gateway) -> None:
    written = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.")
    assert written.search(gateway.get("who/a").text)
    gateway.get("who/answer?status=500")
    assert not written.search(gateway.log.read_text(encoding="utf-8"))
