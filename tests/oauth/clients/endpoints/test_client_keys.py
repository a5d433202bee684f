"""Apps with a key (`private_key_jwt`), at the token and revocation endpoints, and their thieves."""

import secrets
import time
from base64 import b64encode
from dataclasses import replace
from statistics import median
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from pytest_django import Settings

from oauth.clients import metadata_documents
from oauth.clients.grants import grants
from oauth.clients.server import AuthorizationServer
from tests.oauth.clients.support.app import (
    ISSUER,
    REDIRECT_URI,
    SERVER,
    App,
    WayBack,
    list_client,
    register_app,
)
from tests.oauth.clients.support.asserted import lives
from tests.oauth.clients.support.consent import allow
from tests.oauth.clients.support.keyed_app import (
    CLIENT_ID,
    KEYS_URL,
    Consented,
    Key,
    with_assertion,
)
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case

GRACE = 120
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def server(server: AuthorizationServer, settings: Settings) -> AuthorizationServer:
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER, private_key_jwt=True)
    return server


def assert_not_authenticated(response: Any) -> None:
    assert response.status_code == 401, response.content
    assert response.json()["error"] == "invalid_client"


def test_client_with_a_key_signs_in_refreshes_and_revokes(known: Consented) -> None:
    known.site.methods[:] = ["private_key_jwt"]
    key = known.site.key
    code = known.consent()
    assert_not_authenticated(known.app.redeem(code))
    first = known.app.redeem(code, **key.proof()).json()
    second = known.refresh(first, **key.proof(aud=f"{ISSUER}/oauth/token"))
    assert known.site.fetched == [CLIENT_ID, KEYS_URL]
    assert_not_authenticated(known.revoke(second["refresh_token"]))
    assert_not_authenticated(known.revoke(second["access_token"]))
    assert lives(second)
    assert known.revoke(second["refresh_token"], **key.proof()).status_code == 200
    assert not lives(second)


def test_sub_names_the_client_of_a_request_without_client_id(known: Consented) -> None:
    code, proof = known.consent(), known.site.key.proof()
    assert known.app.redeem(code, client_id=None, **proof).status_code == 200


def test_stolen_token_of_a_client_with_a_key_is_useless_and_ends_nothing(
    known: Consented, store: Stack
) -> None:
    """Before and after the grace, neither a spent token nor a replaced one ends the grant."""
    key, thief = known.site.key, Key()
    tokens = [known.begin(**key.proof())]
    for _ in range(3):
        tokens.append(known.refresh(tokens[-1], **key.proof()))
    for later in (0, GRACE + 1):
        store.clock.advance(later)
        for each in tokens:
            for proof in ({}, thief.proof()):
                response = known.app.refresh(each["refresh_token"], **proof)
                assert response.json()["error"] in {"invalid_client", "invalid_grant"}
    assert lives(tokens[-1])
    known.refresh(tokens[-1], **key.proof())


def test_grant_needs_a_key_from_its_first_assertion_on(known: Consented) -> None:
    key, public = known.site.key, known.begin()
    public = known.refresh(public)
    bound = known.refresh(public, **key.proof())
    assert_not_authenticated(known.app.refresh(bound["refresh_token"]))
    assert_not_authenticated(known.revoke(bound["access_token"]))
    assert lives(bound)
    known.refresh(bound, **key.proof())


def test_token_that_needed_no_key_ends_the_grant_that_was_bound_since(
    known: Consented, store: Stack
) -> None:
    """A thief who has a key of the app's cannot hide by it."""
    stolen = known.begin()
    bound = known.refresh(stolen, **known.site.key.proof())
    bound = known.refresh(bound, **known.site.key.proof())
    store.clock.advance(GRACE + 1)
    assert known.app.refresh(stolen["refresh_token"]).status_code == 400
    assert not lives(bound)


@pytest.mark.slow
@each_case(
    ("header", "changes"),
    [
        ({"typ": "client-authentication+jwt"}, {"aud": f"{ISSUER}/oauth/token"}),
        ({"typ": "logout+jwt"}, {}),
        ({"crit": ["x"], "x": 1}, {}),
        ({}, {"aud": [ISSUER, "https://evil.example"]}),
        ({}, {"aud": "https://evil.example"}),
        ({}, {"aud": f"{ISSUER}/token"}),
        ({}, {"aud": None}),
        ({}, {"iss": "https://evil.example/client.json"}),
        ({}, {"sub": "https://evil.example/client.json"}),
        ({}, {"exp": None}),
        ({}, {"exp": 1}),
        ({}, {"exp": 2**40}),
        ({}, {"exp": "9999999999"}),
        ({}, {"nbf": 2**40}),
        ({}, {"iat": 2**40}),
        ({}, {"jti": None}),
        ({}, {"jti": ""}),
        ({}, {"jti": "x" * 1025}),
    ],
)
def test_assertion_with_a_wrong_claim_fails_without_a_fetch(
    known: Consented, header: dict[str, Any], changes: dict[str, Any]
) -> None:
    code = known.consent()
    del known.site.fetched[:]
    assert_not_authenticated(known.app.redeem(code, **known.site.key.proof(header, **changes)))
    assert known.site.fetched == []
    assert known.app.redeem(code).status_code == 200


def test_assertion_is_accepted_with_one_token_only(known: Consented) -> None:
    key = known.site.key
    code, other = known.consent(), known.begin(**key.proof())
    proof = key.proof()
    first = known.app.redeem(code, **proof).json()
    assert_not_authenticated(known.app.refresh(other["refresh_token"], **proof))
    assert_not_authenticated(known.revoke(other["refresh_token"], **proof))
    assert lives(other)
    # A lost response signs nobody out: the same assertion gets it again, and so does a new one.
    proof = key.proof()
    second = known.refresh(first, **proof)
    assert known.refresh(first, **proof)["refresh_token"] == second["refresh_token"]
    assert known.refresh(first, **key.proof())["refresh_token"] == second["refresh_token"]


def test_unknown_token_causes_neither_fetch_nor_verification(
    known: Consented, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.begin(**known.site.key.proof())
    metadata_documents._fetcher._kept.clear()
    del known.site.fetched[:]
    proof = known.site.key.proof()
    monkeypatch.setattr(jwt.PyJWS, "_verify_signature", None)
    for kind in ("gwr_", "gwr_x"):
        unknown = (kind + secrets.token_hex(16))[:36]
        response = known.app.refresh(unknown, **proof)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
        assert known.revoke(unknown, **proof).status_code == 200
    assert known.site.fetched == []


@pytest.mark.parametrize("number", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_flood_of_assertions_with_unknown_tokens_costs_little(
    known: Consented, number: int
) -> None:
    """Each has a proof as well (DPoP), a key of 8,192 bits and a new `jti`: none is verified."""
    proof = known.site.key.proof()
    sent = "x" * 4000 + "." + "y" * 2000 + "." + "z" * 1400
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID} | proof
    took = []
    for _ in range(number):
        form["refresh_token"] = ("gwr_" + secrets.token_hex(16))[:36]
        began = time.process_time()
        response = known.app.http.post(
            "/oauth/token", urlencode(form), FORM, headers={"DPoP": sent}
        )
        took.append(time.process_time() - began)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert median(took) < 0.02
    assert known.site.fetched == []


def test_another_clients_token_causes_no_fetch(known: Consented, ada: Visitor, corp: Any) -> None:
    other = register_app()
    tokens = other.redeem(WayBack.of(allow(ada, other, corp)).response["code"]).json()
    del known.site.fetched[:]
    response = known.app.refresh(tokens["refresh_token"], client_id=CLIENT_ID, **Key().proof())
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert known.site.fetched == []
    assert lives(tokens)


def test_unavailable_keys_are_a_503_that_uses_up_nothing(known: Consented) -> None:
    code, proof = known.consent(), known.site.key.proof()
    known.site.down.add(KEYS_URL)
    response = known.app.redeem(code, **proof)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert int(response["Retry-After"]) > 0
    known.site.down.clear()
    assert known.app.redeem(code, **proof).status_code == 200


def test_replaced_key_is_fetched_and_an_unknown_one_at_most_once_a_minute(
    known: Consented,
) -> None:
    tokens = known.begin(**known.site.key.proof())
    known.site.key = Key(id="two")
    known.site.clock.advance(61)
    tokens = known.refresh(tokens, **known.site.key.proof())
    count = len(known.site.fetched)
    known.site.clock.advance(1)
    for _ in range(5):  # It may have been replaced since: nothing is decided.
        assert known.app.refresh(tokens["refresh_token"], **Key(id="3").proof()).status_code == 503
    assert len(known.site.fetched) == count
    known.site.clock.advance(61)
    assert_not_authenticated(known.app.refresh(tokens["refresh_token"], **Key(id="3").proof()))
    # So does one with the id of the client's, which may have been replaced under the same id.
    assert_not_authenticated(known.app.refresh(tokens["refresh_token"], **Key(id="two").proof()))
    tokens = known.refresh(tokens, **known.site.key.proof())
    known.site.clock.advance(61)
    known.site.key = Key(id="two")
    known.refresh(tokens, **known.site.key.proof())


@each_case(
    "more",
    [
        {"token_endpoint_auth_methods_supported": ["none"]},
        {"jwks_uri": "https://evil.example/jwks.json"},
        {"jwks_uri": None},
        {"jwks_uri": None, "jwks": {"keys": [{**Key().jwk, "alg": ["ES256"]}]}},
    ],
)
def test_document_that_lost_its_key_does_not_make_the_grant_public(
    known: Consented, more: dict[str, Any]
) -> None:
    tokens, key = known.begin(**known.site.key.proof()), known.site.key
    known.site.more |= more
    known.site.clock.advance(3601)
    assert_not_authenticated(known.app.refresh(tokens["refresh_token"]))
    assert_not_authenticated(known.app.refresh(tokens["refresh_token"], **key.proof()))
    assert "https://evil.example/jwks.json" not in known.site.fetched
    assert lives(tokens)
    known.site.more.clear()
    known.site.clock.advance(3601)
    known.refresh(tokens, **key.proof())


def test_two_ways_to_authenticate_or_another_type_are_rejected(known: Consented) -> None:
    code, proof = known.consent(), known.site.key.proof()
    assert_not_authenticated(known.app.redeem(code, **proof | {"client_assertion_type": "x"}))
    assert_not_authenticated(known.app.redeem(code, **with_assertion("a.b.c")))
    assert_not_authenticated(known.app.redeem(code, client_secret="x", **proof))
    named = {"Authorization": f"Basic {b64encode(f'{quote_plus(CLIENT_ID)}:'.encode()).decode()}"}
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": known.app.verifier}
    response = known.app.http.post("/oauth/token", urlencode(form | proof), FORM, headers=named)
    assert_not_authenticated(response)
    assert known.app.redeem(code, **proof).status_code == 200


@each_case(
    "key",
    [
        Key(rsa.generate_private_key(65537, 2048), algorithm="RS256"),
        Key(rsa.generate_private_key(65537, 2048), algorithm="PS256"),
        Key(ed25519.Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        Key(ed25519.Ed25519PrivateKey.generate(), algorithm="Ed25519"),
    ],
)
def test_key_of_each_type_is_accepted_with_or_without_its_id(known: Consented, key: Key) -> None:
    known.site.key = key
    known.site.clock.advance(3601)
    tokens = known.begin(**key.proof())
    known.refresh(tokens, **replace(key, id="").proof())


def test_listed_client_with_a_key_is_never_public(
    ada: Visitor, corp: FakeProvider, settings: Settings, app: App
) -> None:
    """Also a grant of before it had the key; the operator's keys are not fetched."""
    key, uris = Key(), [REDIRECT_URI]
    public = {"client_id": CLIENT_ID, "client_name": "App", "redirect_uris": uris}
    app.client_id = CLIENT_ID
    list_client(settings, public)
    old = app.redeem(WayBack.of(allow(ada, app, corp)).response["code"]).json()
    list_client(settings, public | {"jwks": {"keys": [key.jwk]}})
    code = WayBack.of(allow(ada, app, corp)).response["code"]
    assert_not_authenticated(app.redeem(code))
    assert_not_authenticated(app.redeem(code, **Key().proof()))
    assert_not_authenticated(app.refresh(old["refresh_token"]))
    assert app.redeem(code, **key.proof()).status_code == 200
    new = app.refresh(old["refresh_token"], **key.proof())
    assert new.status_code == 200
    list_client(settings, public)  # The grants stay as strong as they were.
    assert_not_authenticated(app.refresh(new.json()["refresh_token"]))


def test_late_reuse_by_the_authenticated_client_ends_the_grant(
    known: Consented, store: Stack
) -> None:
    """Somebody else has used the token with the client's key: the key was stolen, too."""
    key = known.site.key
    stolen = known.begin(**key.proof())
    used = known.refresh(stolen, **key.proof())
    store.clock.advance(GRACE + 1)
    assert known.app.refresh(stolen["refresh_token"], **key.proof()).status_code == 400
    assert not lives(used)


def test_used_assertion_ends_nothing(known: Consented, store: Stack) -> None:
    """A thief has a spent token, and the assertion of another request."""
    key = known.site.key
    stolen = known.begin(**key.proof())
    used, proof = known.refresh(stolen, **key.proof()), key.proof()
    known.begin(**proof)
    for later in (0, GRACE + 1):
        store.clock.advance(later)
        for wrong in (proof, key.proof(exp=1), {}):
            assert_not_authenticated(known.app.refresh(stolen["refresh_token"], **wrong))
            proof = key.proof()
            known.begin(**proof)
    assert lives(used)


def test_request_that_is_sent_again_ends_nothing(known: Consented, store: Stack) -> None:
    """A thief has a whole request, with token and assertion, at either endpoint."""
    key = known.site.key
    first = known.begin(**key.proof())
    proof = key.proof(exp=int(grants().services.clock()) + 1800)
    second = known.refresh(first, **proof)
    assert known.refresh(first, **proof)["access_token"] == second["access_token"]
    assert_not_authenticated(known.revoke(first["refresh_token"], **proof))
    store.clock.advance(GRACE + 1)
    assert_not_authenticated(known.app.refresh(first["refresh_token"], **proof))
    assert lives(second)
    proof = key.proof()
    for _ in range(2):  # A client whose response was lost sends it again.
        assert known.revoke(second["refresh_token"], **proof).status_code == 200
    assert not lives(second)


def test_metadata_lists_the_method_after_none_with_its_algorithms(app: App) -> None:
    found = app.http.get("/.well-known/oauth-authorization-server").json()
    for endpoint in ("token", "revocation"):
        assert found[f"{endpoint}_endpoint_auth_methods_supported"] == ["none", "private_key_jwt"]
        algorithms = set(found[f"{endpoint}_endpoint_auth_signing_alg_values_supported"])
        assert {"RS256", "ES256", "EdDSA", "Ed25519"} <= algorithms
        assert not any(each.startswith(("HS", "none")) for each in algorithms)
