"""Back-channel logout: whose key may have signed a logout token, and when keys are fetched."""

import json
import re
import secrets
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from oauth.provider import jwks
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.logout_fixtures import assert_ends_session, assert_refused, post
from tests.oauth.support.logout_provider import ABSENT, LogoutProvider, SigningKey
from tests.sessions_kms.support.stacks import Stack

SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "EdDSA"])
def test_each_kind_of_key_is_accepted(
    idp: LogoutProvider, visitor: Visitor, algorithm: str
) -> None:
    idp.keys = [SigningKey.new(algorithm)]
    visitor.sign_in(idp)
    assert_ends_session(visitor, idp.logout_token())


def test_new_key_is_fetched_once_it_is_used(
    idp: LogoutProvider, visitor: Visitor, store: Stack
) -> None:
    assert post(idp.logout_token()).status_code == 200
    assert post(idp.logout_token()).status_code == 200
    assert idp.key_fetches == 1
    store.clock.advance(1)
    idp.keys.insert(0, SigningKey.new("RS256"))
    visitor.sign_in(idp)
    assert_ends_session(visitor, idp.logout_token())
    assert idp.key_fetches == 2
    idp.keys.insert(0, SigningKey.new("ES256"))  # replaced again at once
    assert post(idp.logout_token()).status_code == 200
    assert idp.key_fetches == 3


def test_new_key_during_a_flood_of_unknown_ones_can_be_retried(
    idp: LogoutProvider, at_idp: Visitor, store: Stack
) -> None:
    """400 would make the provider give up; the fetch that would tell may not be made yet."""
    assert_refused(post(idp.logout_token({"kid": "made-up"})))
    store.clock.advance(20)
    idp.keys = [SigningKey.new()]
    token = idp.logout_token()
    response = post(token)
    assert (response.status_code, response["Retry-After"]) == (503, "40")
    assert at_idp.user_id is not None
    store.clock.advance(int(response["Retry-After"]))
    assert_ends_session(at_idp, token)


def test_withdrawn_key_is_trusted_for_an_hour_at_most(idp: LogoutProvider, store: Stack) -> None:
    old = idp.keys[0]
    assert post(idp.logout_token()).status_code == 200
    idp.keys = [SigningKey.new()]
    store.clock.advance(3599)
    assert post(idp.logout_token({"kid": old.id}, old.private)).status_code == 200
    store.clock.advance(2)
    assert_refused(post(idp.logout_token({"kid": old.id}, old.private)))


def test_flood_of_unknown_keys_calls_the_provider_once_a_minute(
    idp: LogoutProvider, store: Stack
) -> None:
    for minute in range(1, 3):
        responses = [post(idp.logout_token({"kid": secrets.token_hex(8)})) for _ in range(50)]
        assert [each.status_code for each in responses] == [400] + [503] * 49
        assert idp.key_fetches == minute
        store.clock.advance(60)


def test_token_without_key_id_needs_a_single_key(idp: LogoutProvider) -> None:
    assert post(idp.logout_token({"kid": ABSENT})).status_code == 200
    jwks._key_sets.clear()
    idp.keys.append(SigningKey.new())
    assert_refused(post(idp.logout_token({"kid": ABSENT})))


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "ES384"},
        {"kty": "oct", "k": "AAAA"},
        {"crv": "P-384"},
        {"x": "AAAA"},
        {"x": None},
    ],
)
def test_key_for_something_else_signs_nothing(
    idp: LogoutProvider, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    jwk = idp.keys[0].jwk() | change
    monkeypatch.setattr(SigningKey, "jwk", lambda _: jwk)
    assert_refused(post(idp.logout_token()))


def test_published_private_key_signs_nothing(
    idp: LogoutProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = idp.keys[0]
    private = json.loads(jwt.get_algorithm_by_name(own.algorithm).to_jwk(own.private))
    jwk = own.jwk() | {"d": private["d"]}
    monkeypatch.setattr(SigningKey, "jwk", lambda _: jwk)
    assert_refused(post(idp.logout_token()))


def test_short_rsa_key_signs_nothing(idp: LogoutProvider) -> None:
    idp.keys = [SigningKey("short", SMALL_RSA, "RS256")]
    assert_refused(post(idp.logout_token()))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": {}}', b'{"keys": null}', b"<html>"])
def test_unreadable_keys_are_fetched_again_later(
    idp: LogoutProvider, store: Stack, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    idp.failing["/jwks"] = lambda: (200, "application/json", body)
    assert post(idp.logout_token()).status_code == 503
    assert re.search(
        r"A logout of corp failed: The provider's .+ cannot be (?:read|parsed)", caplog.text
    )
    idp.failing.clear()
    assert post(idp.logout_token()).status_code == 503
    store.clock.advance(61)
    assert post(idp.logout_token()).status_code == 200
