"""Public keys as JSON Web Keys (RFC 7517), each with its thumbprint as the id (RFC 7638).

Does not depend on Django or allauth, since it is imported by settings.
"""

import json
from collections.abc import Mapping
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from oauth.formats import hash_text

RSA_BITS: Final = range(2048, 8192 + 1)  # RFC 7518 section 3.3; longer keys cost too much
RSA_EXPONENTS: Final = range(3, 2**32, 2)  # odd; verifying with a long one costs as much as signing
ES256: Final = "ES256"
RS256: Final = "RS256"
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
# The members that RFC 7638 hashes, section 3.2; of OKP, RFC 8037 section 2.
THUMBPRINT_MEMBERS: Final = {
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "OKP": ("crv", "kty", "x"),
}


def make_jwk(key: PublicKey, algorithm: str | None) -> dict[str, str]:
    """Return a public key as a JWK for signatures.

    ``algorithm`` is None for a key that may sign with several.
    """
    if isinstance(key, rsa.RSAPublicKey):
        text = RSAAlgorithm.to_jwk(key)
    else:
        text = ECAlgorithm.to_jwk(key)
    members: dict[str, str] = {
        name: value for name, value in json.loads(text).items() if isinstance(value, str)
    }
    named = {} if algorithm is None else {"alg": algorithm}
    return {**members, "kid": make_thumbprint(members), "use": "sig", **named}


def find_algorithm(key: object) -> str | None:
    """Return the algorithm for a public key that is used with one only; None if it is unsupported.

    That is `ES256` for P-256 and `RS256` for RSA (RFC 7518 section 3.1).
    """
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return ES256
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return RS256 if key.public_numbers().e in RSA_EXPONENTS else None
    return None


def make_thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the SHA-256 thumbprint of a JWK (RFC 7638)."""
    hashed = {name: jwk[name] for name in THUMBPRINT_MEMBERS[jwk["kty"]]}
    return hash_text(json.dumps(hashed, separators=(",", ":"), sort_keys=True))
