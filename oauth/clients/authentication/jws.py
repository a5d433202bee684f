"""Reads and verifies the tokens that clients sign: assertions, and proofs of a key (RFC 7515).

Takes a token and a key; returns header and claims, and whether the key has signed it. Only
asymmetric algorithms are accepted: a public key must never be used as the secret of an HMAC.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import jwt

from oauth import formats
from oauth.provider import signing_keys

# RFC 9864 names the algorithm by its curve; PyJWT knows only the older name.
ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    **signing_keys.ALGORITHMS,
    "Ed25519": signing_keys.ED25519,
}
SAME_ALGORITHM: Final = {"Ed25519": "EdDSA"}
MEDIA_TYPE: Final = "application/"  # may be left out: RFC 7515 section 4.1.9
JWT_ERRORS: Final = (jwt.PyJWTError, RecursionError, TypeError, ValueError)

_jws = jwt.PyJWS()
_jws.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())


class UnreadableToken(ValueError):
    """A text is not a signed token with claims."""


def read_unverified(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and claims of a token that was not verified. Raises UnreadableToken."""
    __traceback_hide__ = True
    try:
        decoded = _jws.decode_complete(text, options={"verify_signature": False})
        claims = formats.parse_json(decoded["payload"])
    except JWT_ERRORS:
        decoded, claims = {}, None
    if not isinstance(claims, dict):
        raise UnreadableToken
    return decoded["header"], claims


def read_type(header: Mapping[str, Any], default: str = "") -> str:
    """Return `typ` in lower case and without the part that may be left out; "" for an odd one."""
    name = header.get("typ", default)
    return name.lower().removeprefix(MEDIA_TYPE) if isinstance(name, str) else ""


def is_number(value: object) -> TypeGuard[float]:
    """Return True for a number of seconds that every parser reads alike."""
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < 2**53


def fits(key: signing_keys.SigningKey, algorithm: str) -> bool:
    """Return True if a key may sign with one of `ALGORITHMS`."""
    names = {None, algorithm, SAME_ALGORITHM.get(algorithm, algorithm)}
    return key.kind == ALGORITHMS[algorithm] and key.algorithm in names


def is_signed_by(text: str, key: Any, algorithm: str) -> bool:
    """Return True if a key has signed a token with one of `ALGORITHMS`."""
    __traceback_hide__ = True
    try:
        _jws.decode_complete(text, key, algorithms=[algorithm])
    except JWT_ERRORS:
        return False
    return True
