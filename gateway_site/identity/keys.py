"""The key that signs tokens for upstreams, and the set of public keys that verifiers fetch.

The operator creates the keys as PEM files. A key of P-256 signs with ES256, one of RSA with RS256.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway_site.environment.variable import InvalidValue, read_text_file
from oauth.provider.public_jwk import find_algorithm, make_jwk

FILE_MAX: Final = 64 * 1024  # bytes
PRIVATE_MARK: Final = "PRIVATE KEY-----"  # RFC 7468; also of the older forms of each type
KEY_MARK: Final = re.compile(r"-----BEGIN [A-Z ]*(?:PRIVATE|PUBLIC) KEY-----")
UNUSABLE: Final = "must name a key of P-256, or an RSA key with 2048 to 8192 bits."

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
JWK: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class SigningKey:
    """A private key, and its public half as a JWK with the id and the only algorithm."""

    private: PrivateKey = field(repr=False)
    public: JWK = field(hash=False)

    @property
    def id(self) -> str:
        """The key's thumbprint (RFC 7638)."""
        return self.public["kid"]

    @property
    def algorithm(self) -> str:
        """`ES256` or `RS256`."""
        return self.public["alg"]


@dataclass(frozen=True)
class KeySet:
    """The key that signs, if any, and further public keys, which verifiers must know too."""

    signing: SigningKey | None = None
    others: tuple[JWK, ...] = field(default=(), hash=False)

    def to_document(self) -> dict[str, Any] | None:
        """Return the JWK Set (RFC 7517 section 5), each key once; None without any key."""
        listed = [*([self.signing.public] if self.signing else []), *self.others]
        found = {key["kid"]: dict(key) for key in listed}
        return {"keys": list(found.values())} if found else None


def load_signing_key(path: str) -> SigningKey:
    """Return the private key in a PEM file. Raises InvalidValue."""
    __traceback_hide__ = True
    private = _load_private(_read(path))
    return SigningKey(private, _describe(private.public_key()))


def load_public_key(path: str) -> JWK:
    """Return the public key in a PEM file, also of a private one. Raises InvalidValue."""
    __traceback_hide__ = True
    text = _read(path)
    if PRIVATE_MARK in text:
        return _describe(_load_private(text).public_key())
    try:
        public = load_pem_public_key(text.encode())
    except (UnsupportedAlgorithm, ValueError):
        raise InvalidValue("must name a PEM file with a public or private key.") from None
    return _describe(public)


def _read(path: str) -> str:
    """Return a file with at most one key: others would be left out without a word."""
    __traceback_hide__ = True
    try:
        text = read_text_file(Path(path), FILE_MAX)
    except ValueError as error:
        raise InvalidValue(f": {error}") from None
    if len(KEY_MARK.findall(text)) > 1:
        raise InvalidValue("must name a PEM file with a single key.")
    return text


def _load_private(text: str) -> PrivateKey:
    __traceback_hide__ = True
    try:
        private = load_pem_private_key(text.encode(), None)
    except (TypeError, UnsupportedAlgorithm, ValueError):  # TypeError: it needs a password
        raise InvalidValue("must name a PEM file with a private key without a password.") from None
    if not isinstance(private, PrivateKey):
        raise InvalidValue(UNUSABLE)
    return private


def _describe(key: Any) -> JWK:
    """Return a public key as a JWK with its algorithm. Raises InvalidValue."""
    if (algorithm := find_algorithm(key)) is None:
        raise InvalidValue(UNUSABLE)
    return make_jwk(key, algorithm)
