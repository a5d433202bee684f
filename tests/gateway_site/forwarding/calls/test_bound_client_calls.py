"""Calls with a client's token that is bound to a key (DPoP, RFC 9449), and without its key.

Adversaries: a thief of tokens and of whole requests (a reader of a proxy's log), the hostile
client, an upstream that would see a proof. Only HTTP reaches the gateway here.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import requests

from tests.gateway_site.server.served import exchange
from tests.gateway_site.support.client_tokens import CLIENT_ID, VERIFIER, Caller
from tests.gateway_site.support.gateways import Gateway
from tests.oauth.support.proof_maker import ProofKey
from tests.support.cases import each_case

CHALLENGE = (
    'DPoP error="{}", algs="RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519", '
    'resource_metadata="{}/.well-known/oauth-protected-resource/gateway/{}", scope="{}"'
)


def new_key() -> ProofKey:
    return ProofKey(time.time)


@dataclass
class BoundCaller:
    """A client with a bound token, and its key."""

    gateway: Gateway
    tokens: dict[str, Any]
    key: ProofKey = field(default_factory=new_key)

    @classmethod
    def allowed(cls, gateway: Gateway, upstream: str = "open") -> BoundCaller:
        made = cls(gateway, {})
        code = gateway.control(f"allow/{upstream}/{CLIENT_ID}")
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        made.trade(form)
        gateway.end_grants.append(Caller(gateway, "", made.tokens["refresh_token"]).end)
        return made

    def trade(self, form: dict[str, str]) -> None:
        url = f"{self.gateway.url}/oauth/token"
        sent = {"DPoP": self.key.proof("POST", url)}
        response = requests.post(url, form | {"client_id": CLIENT_ID}, headers=sent, timeout=20)
        assert response.status_code == 200, response.text
        self.tokens = response.json()
        assert self.tokens["token_type"] == "DPoP"

    @property
    def token(self) -> str:
        return str(self.tokens["access_token"])

    def proof(self, path: str = "open/", method: str = "GET", **changes: Any) -> str:
        url = f"{self.gateway.url}/gateway/{path.partition('?')[0]}"
        return self.key.proof(method, url, self.token, **changes)

    def call(
        self, path: str = "open/", method: str = "GET", proof: str | None = None, **headers: str
    ) -> requests.Response:
        sent = {"Authorization": f"DPoP {self.token}", "DPoP": proof or self.proof(path, method)}
        url = f"{self.gateway.url}/gateway/{path}"
        return requests.request(method, url, headers=sent | headers, timeout=20)


@pytest.fixture
def bound(gateway: Gateway) -> BoundCaller:
    return BoundCaller.allowed(gateway)


def assert_challenged(
    bound: BoundCaller, response: requests.Response, error: str, path: str = "open/"
) -> None:
    assert response.status_code == 401, response.text
    assert response.json()["code"] == error
    expected = CHALLENGE.format(error, bound.gateway.url, path, path.partition("/")[0])
    assert response.headers["WWW-Authenticate"] == expected
    assert bound.token not in response.text
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_call_with_a_proof_is_made_and_the_upstream_sees_neither(
    bound: BoundCaller, method: str
) -> None:
    for path in ("open/", "open/a/b?q=1&dpop=x", "open/a%20b~/%C3%A9"):
        response = bound.call(path, method)
        assert response.status_code == 200, response.text
        sent = dict(response.json()["headers"])
        assert "dpop" not in sent
        assert bound.token not in str(sent)
    response = bound.call("open/%C3%A9", method, bound.proof("open/%c3%a9", method))
    assert response.status_code == 200, response.text
    response = bound.call("open/x", method, Authorization=f"dpop  {bound.token}")
    assert response.status_code == 200, response.text


def test_refreshed_pair_serves_and_so_does_the_access_token_before(bound: BoundCaller) -> None:
    before = replace(bound)
    bound.trade({"grant_type": "refresh_token", "refresh_token": bound.tokens["refresh_token"]})
    assert bound.call().status_code == 200
    assert before.call().status_code == 200


def test_stolen_access_token_is_useless_without_its_key(bound: BoundCaller) -> None:
    thief = replace(bound, key=new_key())
    assert_challenged(bound, thief.call(), "invalid_token")
    forged = thief.proof(header={"jwk": bound.key.jwk})
    assert_challenged(bound, bound.call(proof=forged), "invalid_dpop_proof")
    url = f"{bound.gateway.url}/gateway/open/"
    for headers in ({}, {"DPoP": bound.proof()}):
        sent = {"Authorization": f"Bearer {bound.token}", **headers}
        assert_challenged(bound, requests.get(url, headers=sent, timeout=10), "invalid_token")
    assert bound.call().status_code == 200


def test_unbound_token_is_no_bound_one(gateway: Gateway, bound: BoundCaller) -> None:
    plain = Caller.allowed(gateway, "open")
    sent = replace(bound, tokens={"access_token": plain.access_token})
    assert_challenged(sent, sent.call(), "invalid_token")
    unknown = replace(bound, tokens={"access_token": "gwa_" + "a" * 32})
    assert_challenged(unknown, unknown.call(), "invalid_token")
    # A proof that nothing needs is ignored.
    assert plain.call("open/", headers={"DPoP": bound.proof()}).status_code == 200


def test_stolen_request_is_not_made_twice(bound: BoundCaller) -> None:
    proof = bound.proof()
    assert bound.call(proof=proof).status_code == 200
    for _ in range(2):
        assert_challenged(bound, bound.call(proof=proof), "invalid_dpop_proof")
    other = BoundCaller.allowed(bound.gateway)
    assert_challenged(other, other.call(proof=proof), "invalid_dpop_proof")


@each_case(
    "changes",
    [
        {"htm": "POST"},
        {"htu": "https://evil.example/gateway/open/"},
        {"ath": None},
        {"ath": "x" * 43},
        {"ath": ["x"]},
        {"iat": 1},
        {"iat": 2**40},
        {"jti": None},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"typ": "JWT"}},
    ],
)
def test_wrong_proof_is_challenged_and_the_right_one_serves(
    bound: BoundCaller, changes: dict[str, Any]
) -> None:
    assert_challenged(bound, bound.call(proof=bound.proof(**changes)), "invalid_dpop_proof")
    assert bound.call().status_code == 200


def test_proof_is_for_one_method_path_and_token(bound: BoundCaller) -> None:
    other = BoundCaller.allowed(bound.gateway)
    of_other_token = replace(other, key=bound.key).proof()
    for response in (
        bound.call("open/x", proof=bound.proof("open/y")),
        bound.call("open/x", proof=bound.proof("open/x/")),
        bound.call("open/x", proof=bound.proof("open/x", "HEAD")),
        bound.call("open/x", proof=of_other_token),
        bound.call("open/x", DPoP=""),
    ):
        assert_challenged(bound, response, "invalid_dpop_proof", "open/x")
    private = {**bound.key.jwk, "d": "AQAB"}
    huge = {"kty": "RSA", "n": "_" * 6000, "e": "AQAB"}
    for jwk in (private, huge, {**bound.key.jwk, "alg": ["ES256"]}):
        response = bound.call(proof=bound.proof(header={"jwk": jwk}))
        assert_challenged(bound, response, "invalid_dpop_proof")


def test_two_proofs_or_two_tokens_are_rejected(bound: BoundCaller) -> None:
    def send(*lines: str) -> bytes:
        port = bound.gateway.port
        head = ["GET /gateway/open/ HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        return exchange(port, "\r\n".join([*head, *lines, "", ""]).encode())

    token = f"Authorization: DPoP {bound.token}"
    one, two = f"DPoP: {bound.proof()}", f"dpop: {bound.proof()}"
    assert send(token, one).startswith(b"HTTP/1.1 200")
    for lines in ((token, one, two), (token, two, two), (token, two, "DPoP: x")):
        response = send(*lines).decode()
        assert response.startswith("HTTP/1.1 401"), response
        assert re.search(
            r'(?i)\r\nwww-authenticate: DPoP error="invalid_dpop_proof", .*resource_metadata="',
            response,
        )
    assert send(token, token, two).startswith(b"HTTP/1.1 401")


def test_challenge_without_a_token_does_not_change(gateway: Gateway) -> None:
    url = f"{gateway.url}/gateway/open/"
    for headers in ({}, {"DPoP": "x"}, {"Authorization": "DPoPx"}):
        told = requests.post(url, headers=headers, timeout=10).headers["WWW-Authenticate"]
        assert re.fullmatch(r'Bearer resource_metadata="[^"]+", scope="open"', told)


def test_grant_that_ended_is_challenged_as_it_was_used(gateway: Gateway) -> None:
    bound = BoundCaller.allowed(gateway, "unheld")
    response = bound.call("unheld/x")
    assert (response.status_code, response.json()["code"]) == (401, "grant_ended")
    assert response.headers["WWW-Authenticate"].startswith('DPoP error="invalid_token"')


def test_page_of_another_site_may_send_a_proof_to_the_token_endpoint(gateway: Gateway) -> None:
    response = requests.options(f"{gateway.url}/oauth/token", timeout=10)
    assert "DPoP" in response.headers["Access-Control-Allow-Headers"].split(", ")


def test_neither_token_nor_proof_is_in_the_log(bound: BoundCaller) -> None:
    good, bad = bound.proof(), bound.proof(htm="PUT")
    bound.call(proof=good)
    bound.call(proof=bad)
    log = bound.gateway.read_log()
    assert not any(secret in log for secret in (bound.token, good, bad))
