"""Public signing keys (RFC 7517): which are accepted, for which algorithms. Pure.

The cost of verifying with any key of a set is bounded when the set is parsed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from oauth.formats import decode_base64url
from oauth.provider.public_jwk import RSA_BITS, RSA_EXPONENTS

KEYS_MAX = 64

# Asymmetric algorithms only: a public key must never be used as the secret of an HMAC.
RSA, P_256, P_384, P_521, ED25519 = (
    ("RSA", None),
    ("EC", "P-256"),
    ("EC", "P-384"),
    ("EC", "P-521"),
    ("OKP", "Ed25519"),
)
ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": RSA,
    "RS384": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "PS384": RSA,
    "PS512": RSA,
    "ES256": P_256,
    "ES384": P_384,
    "ES512": P_521,
    "EdDSA": ED25519,
}
# PyJWK needs an algorithm to load a key; any algorithm of the key's type works.
KEY_TYPES = {RSA: "RS256", P_256: "ES256", P_384: "ES384", P_521: "ES512", ED25519: "EdDSA"}


@dataclass(frozen=True)
class SigningKey:
    """A public key of a supported type; ``algorithm`` is set if the key is for that one only."""

    id: object
    kind: tuple[str, str | None]
    algorithm: str | None
    key: Any


KeySet = tuple[SigningKey, ...]


def parse_keys(listed: object) -> KeySet:
    """Return the public signing keys of supported types and sizes among a set's first ones."""
    if not isinstance(listed, list):
        return ()
    parsed = (_parse_key(key) for key in listed[:KEYS_MAX] if isinstance(key, dict))
    return tuple(key for key in parsed if key is not None)


def _parse_key(jwk: Mapping[str, Any]) -> SigningKey | None:
    """Return the key; None unless it is a public signing key of a supported type and size."""
    try:
        kind = jwk["kty"], None if jwk["kty"] == "RSA" else jwk["crv"]
        if kind not in KEY_TYPES or not _is_public_signing_key(jwk) or not _is_cheap(jwk):
            return None
        parsed = jwt.PyJWK(dict(jwk), KEY_TYPES[kind])
    except (jwt.PyJWTError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return SigningKey(jwk.get("kid"), kind, jwk.get("alg"), parsed.key)


def _is_public_signing_key(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in jwk
        and isinstance(jwk.get("alg"), str | None)
    )


def _is_cheap(jwk: Mapping[str, Any]) -> bool:
    if jwk["kty"] != "RSA":
        return True
    return _number(jwk["n"]).bit_length() in RSA_BITS and _number(jwk["e"]) in RSA_EXPONENTS


def _number(text: str) -> int:
    return int.from_bytes(decode_base64url(text), "big")
