"""A provider's public keys (RFC 7517), fetched from its `jwks_uri` and cached.

Takes an address, a key id and an algorithm, and returns the keys that may have made such a
signature. An unknown key id causes another fetch, since providers replace their keys, but only once
a minute, since anybody can send a made-up key id. In between, a signature with an unknown key id
can neither be accepted nor rejected. The cost of verifying with any key of a set is bounded when
the set is parsed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.document_cache import DocumentCache
from oauth.network.vetted_addresses import PUBLIC, Reach
from oauth.provider.public_jwk import RSA_BITS, RSA_EXPONENTS

KEYS_AGE = 3600  # seconds; limits how long a withdrawn key is trusted
KEYS_MAX_STALE = 24 * 3600  # seconds, while the provider is unavailable
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
    algorithm: object
    key: Any


KeySet = tuple[SigningKey, ...]


def find_signing_keys(
    url: str, *, key_id: str | None, algorithm: str, reach: Reach = PUBLIC
) -> list[Any]:
    """Return the keys that may have signed with this algorithm; an empty list if there are none.

    Without a key id, exactly one key must match (OpenID Connect Core 10.1). Raises
    ProviderUnavailable if the keys cannot be fetched, or were fetched too recently to try again.
    """
    cached = _key_sets.of(url, reach)
    fetches = cached.fetches
    if keys := _select_keys(cached.get(), key_id, algorithm):
        return keys
    if not (keys := _select_keys(cached.refetch(fetches), key_id, algorithm)):
        cached.note_missing()
    return keys


def load_signing_keys(url: str, reach: Reach = PUBLIC) -> KeySet:
    """Return the accepted signing keys of a set. Raises ProviderUnavailable."""
    return _key_sets.of(url, reach).get()


def clear_key_cache() -> None:
    """Remove all keys from the cache."""
    _key_sets.clear()


def _select_keys(keys: KeySet, key_id: str | None, algorithm: str) -> list[Any]:
    matching = [
        each.key
        for each in keys
        if (key_id is None or each.id == key_id)
        and each.kind == ALGORITHMS[algorithm]
        and each.algorithm in (None, algorithm)
    ]
    return matching if key_id is not None or len(matching) == 1 else []


def _fetch_keys(url: str, reach: Reach) -> KeySet:
    response = http.get(url, reach=reach)
    listed = response.parse().get("keys") if response.status == 200 else None
    if not isinstance(listed, list):
        raise ProviderUnavailable("The provider's keys cannot be read.")
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
    )


def _is_cheap(jwk: Mapping[str, Any]) -> bool:
    if jwk["kty"] != "RSA":
        return True
    return _number(jwk["n"]).bit_length() in RSA_BITS and _number(jwk["e"]) in RSA_EXPONENTS


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


_key_sets = DocumentCache(_fetch_keys, max_age=KEYS_AGE, max_stale=KEYS_MAX_STALE)
