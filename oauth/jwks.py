"""A provider's public keys (RFC 7517), fetched from its `jwks_uri` and kept for a while.

An address, a key id and an algorithm enter; the keys that may have made such a
signature leave. An unknown key id is a reason to look again, but only once a minute:
anybody can make one up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import jwt

from oauth import http
from oauth.exceptions import ProviderUnavailable
from sessions_kms.services import services

KEYS_AGE = 3600  # seconds; a key that the provider withdrew is trusted no longer than that
FETCH_EVERY = 60  # seconds between two looks for a key that is not there
RETRY_EVERY = 5  # seconds between two tries while the provider cannot be asked
KEYS_MAX = 64
SETS_MAX = 64
RSA_BITS = 2048  # RFC 7518 section 3.3

# Asymmetric ones only: a public key must never pass for the secret of an HMAC.
ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


def signing_keys(url: str, *, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
    """Return the keys that may have signed with this algorithm; none where there is none.

    Without a key id there must be one key only that fits (OpenID Connect Core 10.1).
    Raises ProviderUnavailable when the keys cannot be fetched.
    """
    return _set_of(url).find(key_id, algorithm)


def forget() -> None:
    """Forget all keys."""
    _sets.clear()


@dataclass
class _KeySet:
    """The keys at one address. The lock makes one fetch of many at once."""

    url: str
    keys: list[dict[str, Any]] | None = None
    fetched_at: float = 0.0
    tried_at: float | None = None
    lock: Lock = field(default_factory=Lock)

    def find(self, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        with self.lock:
            found = _fitting(self._current(), key_id, algorithm)
            if not found and self._may_try(FETCH_EVERY):
                found = _fitting(self._fetch(), key_id, algorithm)
        return found

    def _current(self) -> list[dict[str, Any]]:
        if self.keys is not None and 0 <= services().clock() - self.fetched_at < KEYS_AGE:
            return self.keys
        if not self._may_try(RETRY_EVERY):
            raise ProviderUnavailable("The provider's keys could not be fetched a moment ago.")
        return self._fetch()

    def _may_try(self, every: int) -> bool:
        return self.tried_at is None or not 0 <= services().clock() - self.tried_at < every

    def _fetch(self) -> list[dict[str, Any]]:
        try:
            answer = http.get(self.url)
        finally:
            self.tried_at = services().clock()  # afterwards: a failure may take its time
        listed = answer.content().get("keys") if answer.status == 200 else None
        if not isinstance(listed, list):
            raise ProviderUnavailable("The provider's keys cannot be read.")
        self.keys = [key for key in listed[:KEYS_MAX] if isinstance(key, dict)]
        self.fetched_at = self.tried_at
        return self.keys


def _fitting(keys: list[dict[str, Any]], key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
    fitting = [
        found
        for key in keys
        if (key_id is None or key.get("kid") == key_id)
        and (found := _key(key, algorithm)) is not None
    ]
    return fitting if key_id is not None or len(fitting) == 1 else []


def _key(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """Return the key, if it is a public one for signatures of this algorithm."""
    kind, curve = ALGORITHMS[algorithm]
    operations = key.get("key_ops", ["verify"])
    if (
        key.get("kty") != kind
        or (curve is not None and key.get("crv") != curve)
        or key.get("use", "sig") != "sig"
        or key.get("alg", algorithm) != algorithm
        or not isinstance(operations, list)
        or "verify" not in operations
        or "d" in key
    ):
        return None
    try:
        found = jwt.PyJWK(dict(key), algorithm)
    except (jwt.PyJWTError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return found if kind != "RSA" or found.key.key_size >= RSA_BITS else None


def _set_of(url: str) -> _KeySet:
    if url not in _sets and len(_sets) >= SETS_MAX:
        _sets.clear()
    return _sets.setdefault(url, _KeySet(url))


_sets: dict[str, _KeySet] = {}
os.register_at_fork(after_in_child=forget)  # the parent may have forked while it held a lock
