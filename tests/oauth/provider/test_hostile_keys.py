"""A hostile set of keys has a bounded cost, for any number of tokens."""

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from oauth.provider import jwks
from tests.oauth.support.hostile import CLIENT_ID, HostileProvider
from tests.oauth.support.hostile_fixtures import hostile, internet
from tests.oauth.support.logout_fixtures import post
from tests.oauth.support.logout_provider import EVENT, RSA_KEYS, SigningKey, sign
from tests.sessions_kms.support.stacks import Stack

__all__ = ["hostile", "internet"]
RSA_KEY = SigningKey("k", RSA_KEYS[0], "RS256")


@dataclass
class Work:
    """What was done, by the library itself."""

    made: int = 0
    verified: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()

    def counting(kind: type, name: str, field: str) -> None:
        original = getattr(kind, name)

        def count(*arguments: Any) -> Any:
            setattr(done, field, getattr(done, field) + 1)
            return original(*arguments)

        monkeypatch.setattr(kind, name, count)

    counting(jwt.PyJWK, "__init__", "made")
    for algorithm in (RSAAlgorithm, ECAlgorithm):
        counting(algorithm, "verify", "verified")
    return done


def encode(number: int) -> str:
    size = (number.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def rsa_jwk(bits: int = 2048, exponent: int = 65537, **more: Any) -> dict[str, Any]:
    modulus = secrets.randbits(bits) | 1 | 1 << (bits - 1)
    return {"kty": "RSA", "kid": "k", "n": encode(modulus), "e": encode(exponent)} | more


def token(hostile: HostileProvider, store: Stack, key: SigningKey = RSA_KEY) -> str:
    now = int(store.clock())
    claims = {"iss": hostile.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120}
    claims |= {"jti": secrets.token_hex(8), "events": {EVENT: {}}, "sub": "1001"}
    return sign(claims, key.private, key.algorithm, {"typ": "logout+jwt", "kid": "k"})


def test_token_is_verified_twice_at_most_and_no_key_is_made_for_it(
    hostile: HostileProvider, store: Stack, work: Work
) -> None:
    hostile.keys = {"keys": [rsa_jwk() for _ in range(64)]}
    assert post(token(hostile, store)).status_code == 400
    assert work.made <= 64
    assert work.verified == 2
    for _ in range(20):
        assert post(token(hostile, store)).status_code == 400
    assert work.made <= 64
    assert work.verified == 42


def test_second_key_of_the_same_id_is_tried(hostile: HostileProvider, store: Stack) -> None:
    hostile.keys = {"keys": [rsa_jwk(), RSA_KEY.jwk()]}
    assert post(token(hostile, store)).status_code == 200


def test_at_most_64_keys_of_a_set_are_parsed(
    hostile: HostileProvider, store: Stack, work: Work
) -> None:
    small = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
    hostile.keys = {"keys": [small] * 63 + [RSA_KEY.jwk()]}
    assert post(token(hostile, store)).status_code == 200
    assert work.made == 64
    jwks._key_sets.clear()
    hostile.keys = {"keys": [small] * 64 + [RSA_KEY.jwk()]}
    assert post(token(hostile, store)).status_code == 400
    assert work.made == 128


def test_set_of_ten_thousand_keys_is_rejected(
    hostile: HostileProvider, store: Stack, work: Work
) -> None:
    hostile.keys = {"keys": [{"kid": "k"}] * 10_000 + [RSA_KEY.jwk()]}
    assert post(token(hostile, store)).status_code == 503
    assert (work.made, work.verified) == (0, 0)


HOSTILE_KEYS = {
    "of 2047 bits": rsa_jwk(2047),
    "of 8193 bits": rsa_jwk(8193),
    "of 16384 bits": rsa_jwk(16384),
    "exponent 0": rsa_jwk(exponent=0),
    "exponent 1": rsa_jwk(exponent=1),
    "exponent even": rsa_jwk(exponent=65538),
    "exponent of 33 bits": rsa_jwk(exponent=2**32 + 1),
    "exponent as long as the modulus": rsa_jwk(exponent=2**2047 + 1),
    "modulus empty": rsa_jwk(n=""),
    "modulus a number": rsa_jwk(n=7),
    "modulus of 60 KB": rsa_jwk(n="A" * 60_000),
    "exponent missing": rsa_jwk(e=None),
    "kind in a list": rsa_jwk(kty=["RSA"]),
    "algorithm in a list": rsa_jwk(alg=["RS256"]),
    "unknown kind": rsa_jwk(kty="AKP"),
    "symmetric": {"kty": "oct", "kid": "k", "k": "A" * 43},
    "another curve": {"kty": "EC", "kid": "k", "crv": "secp256k1", "x": "A" * 43, "y": "A" * 43},
    "no point of its curve": {"kty": "EC", "kid": "k", "crv": "P-256", "x": "A" * 43, "y": "AA"},
    "Ed448": {"kty": "OKP", "kid": "k", "crv": "Ed448", "x": "A" * 76},
    "X25519": {"kty": "OKP", "kid": "k", "crv": "X25519", "x": "A" * 43},
    "no key": [],
}


@pytest.mark.parametrize("what", HOSTILE_KEYS)
def test_key_that_is_not_accepted_is_skipped(
    hostile: HostileProvider, store: Stack, work: Work, what: str
) -> None:
    hostile.keys = {"keys": [HOSTILE_KEYS[what]]}
    assert post(token(hostile, store)).status_code == 400
    assert work.verified == 0
    jwks._key_sets.clear()
    hostile.keys = {"keys": [HOSTILE_KEYS[what], RSA_KEY.jwk()]}  # and the rest of the set is good
    assert post(token(hostile, store)).status_code == 200
    assert work.verified == 1


@pytest.mark.parametrize("exponent", [3, 65537])
def test_usual_exponent_is_accepted(hostile: HostileProvider, store: Stack, exponent: int) -> None:
    private = rsa.generate_private_key(public_exponent=exponent, key_size=2048)
    key = SigningKey("k", private, "RS256")
    hostile.keys = {"keys": [key.jwk()]}
    assert post(token(hostile, store, key)).status_code == 200


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [(ec.SECP256R1(), "ES256"), (ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512")],
)
def test_curves_are_accepted(
    hostile: HostileProvider, store: Stack, curve: Any, algorithm: str
) -> None:
    key = SigningKey("k", ec.generate_private_key(curve), algorithm)
    hostile.keys = {"keys": [key.jwk()]}
    assert post(token(hostile, store, key)).status_code == 200


def test_key_for_any_algorithm_of_its_kind_is_tried_with_each(
    hostile: HostileProvider, store: Stack
) -> None:
    jwk = {name: value for name, value in RSA_KEY.jwk().items() if name != "alg"}
    hostile.keys = {"keys": [jwk]}
    for algorithm in ("RS256", "RS512", "PS256"):
        key = SigningKey("k", RSA_KEY.private, algorithm)
        assert post(token(hostile, store, key)).status_code == 200


def test_deeply_nested_set_is_rejected(hostile: HostileProvider, store: Stack) -> None:
    deep = json.loads("[" * 19 + "]" * 19)
    hostile.keys = {"keys": [RSA_KEY.jwk()], "x": deep}
    assert post(token(hostile, store)).status_code == 200
    jwks._key_sets.clear()
    hostile.keys = {"keys": [RSA_KEY.jwk()], "x": [deep]}
    assert post(token(hostile, store)).status_code == 503
