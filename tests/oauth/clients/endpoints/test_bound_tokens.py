"""Tokens that are bound to a key (DPoP, RFC 9449) at the token endpoint, and their thieves.

Adversaries: the hostile OAuth client (replays, uses a token elsewhere), the honest one (repeats a
request whose response was lost), a reader of logs and stores, a clock that is off.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pytest_django import Settings

from oauth.clients.authentication import key_binding
from oauth.clients.authentication.dpop_proof import RequestProof, read_proof
from oauth.clients.authentication.key_binding import PROOFS_MAX, UsedProofs
from oauth.clients.grants import grants
from oauth.clients.rules.client import read_client_list
from oauth.clients.rules.errors import InvalidProof
from oauth.clients.rules.redirect_uris import DEFAULT_URIS
from oauth.clients.server import AuthorizationServer
from sessions_kms.concurrency.waits import run_sync
from tests.oauth.clients.support.app import ISSUER, REDIRECT_URI, SERVER, App, WayBack
from tests.oauth.clients.support.consent import allow
from tests.oauth.clients.support.keyed_app import Consented
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.proof_maker import ProofKey, encode
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case

TOKEN_URL = f"{ISSUER}/oauth/token"
GRACE = 120


def services_clock() -> float:
    return grants().services.clock()


def make_key(**more: Any) -> ProofKey:
    return ProofKey(services_clock, **more)


class BoundApp(App):
    """An app that sends a proof with its token requests."""

    proof: str | None = None

    def post(self, path: str, form: dict[str, str]) -> Any:
        sent = {} if self.proof is None else {"DPoP": self.proof}
        kind = "application/x-www-form-urlencoded"
        return self.http.post(path, urlencode(form), kind, headers=sent)


@pytest.fixture
def server(server: AuthorizationServer, settings: Settings) -> AuthorizationServer:
    return install(settings)


def install(settings: Settings, **changes: Any) -> AuthorizationServer:
    made = AuthorizationServer(**SERVER | {"dpop": True, "private_key_jwt": True} | changes)
    settings.AUTHORIZATION_SERVER = made
    return made


@pytest.fixture
def app(server: AuthorizationServer) -> BoundApp:
    return BoundApp()


@pytest.fixture
def consent(ada: Visitor, corp: FakeProvider, app: BoundApp) -> Callable[[], str]:
    app.register()
    return lambda: WayBack.of(allow(ada, app, corp)).response["code"]


def with_proof(app: App, key: ProofKey | None, **changes: Any) -> BoundApp:
    assert isinstance(app, BoundApp)
    app.proof = None if key is None else key.proof("POST", TOKEN_URL, **changes)
    return app


def refresh(app: App, tokens: dict[str, Any], key: ProofKey | None, **form: Any) -> dict[str, Any]:
    response = with_proof(app, key).refresh(tokens["refresh_token"], **form)
    assert response.status_code == 200, response.content
    assert response.json()["token_type"] == ("Bearer" if key is None else "DPoP")
    return dict(response.json())


def begin(app: App, code: str, key: ProofKey | None, **form: Any) -> dict[str, Any]:
    response = with_proof(app, key).redeem(code, **form)
    assert response.status_code == 200, response.content
    assert response.json()["token_type"] == ("Bearer" if key is None else "DPoP")
    return dict(response.json())


def error_of(response: Any) -> str:
    assert response.status_code in {400, 401}, response.content
    return str(response.json()["error"])


def lives(tokens: dict[str, Any], key: ProofKey | None) -> bool:
    sent, token = None, tokens["access_token"]
    if key is not None:
        url = f"{ISSUER}/gateway/tools"
        sent = RequestProof(text=key.proof("GET", url, token), method="GET", url=url)
    return run_sync(grants().open(token, upstream="tools", proof=sent)) is not None


def test_metadata_and_preflights_offer_proofs_only_where_they_are_on(
    app: BoundApp, settings: Settings
) -> None:
    def find(path: str) -> Any:
        return app.http.get(f"/.well-known/{path}").json().get("dpop_signing_alg_values_supported")

    for path in ("oauth-authorization-server", "oauth-protected-resource/gateway/tools"):
        install(settings)
        assert {"ES256", "EdDSA", "Ed25519", "PS256"} <= set(find(path))
        assert not any(each.startswith(("HS", "none")) for each in find(path))
        install(settings, dpop=False)
        assert find(path) is None
    assert "DPoP" in app.http.options("/oauth/token")["Access-Control-Allow-Headers"]


def test_request_with_a_proof_gets_bound_tokens_and_without_one_never(
    app: BoundApp, consent: Callable[[], str]
) -> None:
    key = make_key()
    first = begin(app, consent(), key)
    second = refresh(app, first, key)
    assert lives(first, key)
    assert lives(second, key)
    assert "jkt" not in second
    plain = begin(app, consent(), None)
    refresh(app, plain, None)


def test_stolen_bound_token_is_useless_without_its_key_and_ends_nothing(
    app: BoundApp, consent: Callable[[], str], store: Stack
) -> None:
    """Before and after the grace, neither a spent token nor a replaced one ends the grant."""
    key, thief = make_key(), make_key()
    tokens = [begin(app, consent(), key)]
    for _ in range(3):
        tokens.append(refresh(app, tokens[-1], key))
    for later in (0, GRACE + 1):
        store.clock.advance(later)
        for each in tokens:
            got = [
                error_of(with_proof(app, who).refresh(each["refresh_token"]))
                for who in (None, thief)
            ]
            assert got in (["invalid_dpop_proof", "invalid_grant"], ["invalid_grant"] * 2)
    last = refresh(app, tokens[-1], key)
    # Two parties have token and key: the grant ends.
    store.clock.advance(GRACE + 1)
    assert error_of(with_proof(app, key).refresh(tokens[-1]["refresh_token"])) == "invalid_grant"
    assert not lives(last, key)


def test_stolen_code_is_useless_without_its_verifier_whatever_the_key(
    app: BoundApp, consent: Callable[[], str]
) -> None:
    code, key = consent(), make_key()
    with_proof(app, make_key())
    assert error_of(app.redeem(code, code_verifier="x" * 43)) == "invalid_grant"
    tokens = begin(app, code, key)
    assert error_of(with_proof(app, make_key()).redeem(code)) == "invalid_grant"
    assert lives(tokens, key)


def test_first_refresh_with_a_proof_binds_the_grant(
    app: BoundApp, consent: Callable[[], str]
) -> None:
    key, plain = make_key(), begin(app, consent(), None)
    bound = refresh(app, plain, key)
    assert error_of(with_proof(app, None).refresh(bound["refresh_token"])) == "invalid_dpop_proof"
    assert lives(plain, None)  # until it expires
    refresh(app, bound, key)


def test_thief_cannot_hide_by_binding_the_grant(
    app: BoundApp, consent: Callable[[], str], store: Stack
) -> None:
    thief, owner = make_key(), begin(app, consent(), None)
    stolen = refresh(app, owner, thief)
    for key in (None, make_key()):  # Within the grace, the owner neither gets nor ends anything.
        error_of(with_proof(app, key).refresh(owner["refresh_token"]))
    stolen = refresh(app, stolen, thief)
    store.clock.advance(GRACE + 1)
    assert error_of(with_proof(app, None).refresh(owner["refresh_token"])) == "invalid_grant"
    assert not lives(stolen, thief)


def test_repetition_within_the_grace_needs_the_same_key(
    app: BoundApp, consent: Callable[[], str]
) -> None:
    key, plain = make_key(), begin(app, consent(), None)
    bound = refresh(app, plain, key)
    assert refresh(app, plain, key)["refresh_token"] == bound["refresh_token"]
    assert error_of(with_proof(app, None).refresh(plain["refresh_token"])) == "invalid_dpop_proof"
    for _ in range(2):
        response = with_proof(app, make_key()).refresh(plain["refresh_token"])
        assert error_of(response) == "invalid_grant"
    assert lives(bound, key)
    later = begin(app, consent(), None)
    unbound = refresh(app, later, None)
    assert error_of(with_proof(app, key).refresh(later["refresh_token"])) == "invalid_grant"
    refresh(app, unbound, None)


def test_same_request_again_gets_the_same_response_and_the_proof_no_other(
    app: BoundApp, consent: Callable[[], str]
) -> None:
    """A lost response signs nobody out; a stolen proof is of no use with another token."""
    key = make_key()
    first, other = begin(app, consent(), key), begin(app, consent(), key)
    second = refresh(app, first, key)
    again = app.refresh(first["refresh_token"])
    assert again.json()["refresh_token"] == second["refresh_token"]
    assert error_of(app.refresh(other["refresh_token"])) == "invalid_dpop_proof"
    refresh(app, other, key)


def test_authenticated_client_may_change_its_key_but_needs_a_proof(
    known: Consented, app: BoundApp
) -> None:
    client, one, two = known.site.key, make_key(), make_key()
    first = begin(app, known.consent(), one, **client.proof())
    assert lives(first, one)
    second = refresh(app, first, two, **client.proof())
    assert (lives(first, one), lives(second, two)) == (True, True)
    with pytest.raises(Exception, match="another key"):
        lives(second, one)
    response = with_proof(app, None).refresh(second["refresh_token"], **client.proof())
    assert error_of(response) == "invalid_dpop_proof"
    response = with_proof(app, two).refresh(second["refresh_token"])
    assert error_of(response) == "invalid_client"
    refresh(app, second, one, **client.proof())


def test_revocation_needs_no_proof(app: BoundApp, consent: Callable[[], str]) -> None:
    key = make_key()
    tokens = begin(app, consent(), key)
    app.proof = None
    form = {"client_id": app.client_id, "token": tokens["refresh_token"]}
    assert app.post("/oauth/revoke", form).status_code == 200
    assert not lives(tokens, key)


@each_case("value", [True, "true", 1, False, None])
def test_document_that_wants_bound_tokens_needs_a_proof_from_its_code_on(
    known: Consented, app: BoundApp, value: object
) -> None:
    known.site.clock.advance(3601)
    known.site.more["dpop_bound_access_tokens"] = value
    code = known.consent()
    if not value:
        begin(app, code, None)
        return
    assert error_of(with_proof(app, None).redeem(code)) == "invalid_dpop_proof"
    known.site.more.clear()  # What the client wanted at the consent counts.
    tokens = begin(app, code, make_key())
    assert error_of(with_proof(app, None).refresh(tokens["refresh_token"])) == "invalid_dpop_proof"


def test_listed_client_that_wants_bound_tokens_needs_a_proof_for_older_grants_too(
    ada: Visitor, corp: FakeProvider, settings: Settings, app: BoundApp
) -> None:
    entry = {"client_id": "our-tool", "redirect_uris": [REDIRECT_URI]}
    install(settings, listed=read_client_list([entry], DEFAULT_URIS))
    app.client_id = "our-tool"
    old = begin(app, WayBack.of(allow(ada, app, corp)).response["code"], None)
    entry = {**entry, "dpop_bound_access_tokens": True}  # type: ignore[dict-item]
    install(settings, listed=read_client_list([entry], DEFAULT_URIS))
    assert error_of(with_proof(app, None).refresh(old["refresh_token"])) == "invalid_dpop_proof"
    refresh(app, old, make_key())
    with pytest.raises(ValueError, match="true or false as dpop_bound_access_tokens"):
        read_client_list([entry | {"dpop_bound_access_tokens": "yes"}], DEFAULT_URIS)


def test_switched_off_nothing_is_bound_and_what_is_bound_stays_so(
    app: BoundApp, consent: Callable[[], str], settings: Settings
) -> None:
    key = make_key()
    bound, plain = begin(app, consent(), key), begin(app, consent(), None)
    install(settings, dpop=False)
    assert with_proof(app, key).refresh(plain["refresh_token"]).json()["token_type"] == "Bearer"
    assert error_of(with_proof(app, None).refresh(bound["refresh_token"])) == "invalid_dpop_proof"
    assert error_of(with_proof(app, make_key()).refresh(bound["refresh_token"])) == "invalid_grant"
    assert lives(refresh(app, bound, key), key)


@pytest.mark.slow
@each_case(
    ("header", "changes"),
    [
        ({"typ": None}, {}),
        ({"typ": "JWT"}, {}),
        ({"typ": 7}, {}),
        ({"alg": "none"}, {}),
        ({"alg": "HS256"}, {}),
        ({"alg": "ES384"}, {}),
        ({"alg": ["ES256"]}, {}),
        ({"crit": ["x"], "x": 1}, {}),
        ({"jwk": None}, {}),
        ({"jwk": "x"}, {}),
        ({"jwk": []}, {}),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, {}),
        ({"jwk": {"kty": "EC"}}, {}),
        ({"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, {}),
        ({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}, {}),
        ({"jwk": {"kty": ["EC"], "crv": {}, "x": 1, "y": 2}}, {}),
        ({}, {"htm": "GET"}),
        ({}, {"htm": "post"}),
        ({}, {"htm": None}),
        ({}, {"htu": None}),
        ({}, {"htu": [TOKEN_URL]}),
        ({}, {"htu": "https://evil.example/oauth/token"}),
        ({}, {"htu": f"{ISSUER}/token"}),
        ({}, {"htu": f"{ISSUER}/oauth/token/"}),
        ({}, {"htu": "http://[x"}),
        ({}, {"htu": "\ud800"}),
        ({}, {"iat": None}),
        ({}, {"iat": True}),
        ({}, {"iat": "1"}),
        ({}, {"iat": 2**60}),
        ({}, {"jti": None}),
        ({}, {"jti": ""}),
        ({}, {"jti": 7}),
        ({}, {"jti": "x" * 1025}),
    ],
)
def test_wrong_proof_is_named_and_uses_up_nothing(
    app: BoundApp, consent: Callable[[], str], header: dict[str, Any], changes: dict[str, Any]
) -> None:
    key, code = make_key(), consent()
    response = with_proof(app, key, header=header, **changes).redeem(code)
    assert error_of(response) == "invalid_dpop_proof"
    assert response.json()["error_description"]
    begin(app, code, key)


def test_forged_proofs_fail(app: BoundApp, consent: Callable[[], str]) -> None:
    """Another signature, none, an HMAC with the public key, a private key, a huge key, two."""
    code, key = consent(), make_key()
    good, other = key.proof("POST", TOKEN_URL), make_key().proof("POST", TOKEN_URL)
    head, claims, _ = good.split(".")
    hs = encode(json.dumps({"typ": "dpop+jwt", "alg": "HS256", "jwk": key.jwk}).encode())
    mac = hmac.new(json.dumps(key.jwk).encode(), f"{hs}.{claims}".encode(), hashlib.sha256)
    private = {**key.jwk, "d": encode(b"\1" * 32)}
    huge = {"kty": "RSA", "n": encode(b"\xff" * 5000), "e": "AQAB"}
    slow = {"kty": "RSA", "n": encode(b"\xff" * 512), "e": encode(b"\xff" * 512)}
    for proof in (
        f"{head}.{claims}.{other.split('.')[2]}",
        f"{head}.{claims}.",
        f"{hs}.{claims}.{encode(mac.digest())}",
        key.proof("POST", TOKEN_URL, header={"jwk": private}),
        key.proof("POST", TOKEN_URL, header={"jwk": {**key.jwk, "dp": "AQAB"}}),
        key.proof("POST", TOKEN_URL, header={"jwk": {**key.jwk, "alg": "ES384"}}),
        key.proof("POST", TOKEN_URL, header={"jwk": {**key.jwk, "alg": ["ES256"]}}),
        key.proof("POST", TOKEN_URL, header={"jwk": {**key.jwk, "use": "enc"}}),
        key.proof("POST", TOKEN_URL, header={"jwk": make_key().jwk}),
        key.proof("POST", TOKEN_URL, header={"jwk": huge, "alg": "RS256"}),
        key.proof("POST", TOKEN_URL, header={"jwk": slow, "alg": "RS256"}),
        key.proof("POST", TOKEN_URL, header={"x": "x" * 9000}),
        f"{good},{key.proof('POST', TOKEN_URL)}",  # as two headers arrive
        f"{good},",
        key.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk}, ["a list"]),
        "x",
        "..",
    ):
        app.proof = proof
        assert error_of(app.redeem(code)) == "invalid_dpop_proof", proof[:200]
    begin(app, code, key)


def test_proof_is_valid_for_five_minutes_either_way(
    app: BoundApp, consent: Callable[[], str]
) -> None:
    key, now = make_key(), int(services_clock())
    tokens = begin(app, consent(), key)
    for late in (301, -302):
        response = with_proof(app, key, iat=now + late).refresh(tokens["refresh_token"])
        assert error_of(response) == "invalid_dpop_proof"
    for late in (299, -299):
        response = with_proof(app, key, iat=now + late).refresh(tokens["refresh_token"])
        assert response.status_code == 200


def test_url_is_compared_in_its_normal_form(app: BoundApp, consent: Callable[[], str]) -> None:
    for url in ("HTTP://TestServer:80/oauth/token", f"{ISSUER}/oauth/%74oken?a=b#c"):
        response = with_proof(app, make_key(), htu=url).redeem(consent())
        assert response.status_code == 200, response.content
    form = {"grant_type": "refresh_token", "refresh_token": response.json()["refresh_token"]}
    with_proof(app, make_key(), htu=f"{ISSUER}/token")  # the former address, in its own name
    assert error_of(app.post("/token", form | {"client_id": app.client_id})) == "invalid_grant"


@each_case(
    "more",
    [
        {"private": rsa.generate_private_key(65537, 2048), "algorithm": "RS256"},
        {"private": rsa.generate_private_key(65537, 2048), "algorithm": "PS256"},
        {"private": ec.generate_private_key(ec.SECP384R1()), "algorithm": "ES384"},
        {"private": ed25519.Ed25519PrivateKey.generate(), "algorithm": "EdDSA"},
        {"private": ed25519.Ed25519PrivateKey.generate(), "algorithm": "Ed25519"},
    ],
)
def test_key_of_each_type_binds(
    app: BoundApp, consent: Callable[[], str], more: dict[str, Any]
) -> None:
    key = make_key(**more)
    assert lives(refresh(app, begin(app, consent(), key), key), key)


def test_unknown_token_causes_no_verification(
    app: BoundApp, consent: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    consent()
    read: list[str] = []
    monkeypatch.setattr(
        "oauth.clients.authentication.key_binding.read_proof", lambda *_, **__: read.append("it")
    )
    response = with_proof(app, make_key()).refresh("gwr_" + "a" * 32)
    assert (error_of(response), read) == ("invalid_grant", [])


def test_flood_of_proofs_is_bounded_and_the_last_ones_stay_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One key's flood pushes out the oldest: no other person is rejected by it."""
    assert PROOFS_MAX == 100_000
    monkeypatch.setattr(key_binding, "PROOFS_MAX", 50)
    key, url = ProofKey(lambda: 1000), f"{ISSUER}/x"
    sent = RequestProof(text=key.proof("GET", url), method="GET", url=url)
    proof, used = read_proof(sent, now=1000), UsedProofs()
    for number in range(200):
        used.use(replace(proof, id=str(number)))
        assert len(used) <= 50
    for number in range(150, 200):
        with pytest.raises(InvalidProof, match="used before"):
            used.use(replace(proof, id=str(number)))
    used.use(replace(proof, thumbprint="another", id="199"))
