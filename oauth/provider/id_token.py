"""Validates id tokens from the token endpoint (OpenID Connect Core 3.1.3.7 and 12.2).

Takes the token, the expected values and the time, and returns the claims. The signature need not be
checked, since the token came over TLS directly from the provider. Every fault raises
`InvalidIdToken` with a fixed message.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from oauth.codes import Code
from oauth.formats import encode_base64url
from oauth.network.responses import is_shallow
from oauth.provider.token_set import MAX_TOKEN_LENGTH

SUBJECT_MAX = 255  # ASCII characters; section 2
CLOCK_DIFFERENCE = 60  # seconds
AGE_MAX = 24 * 3600  # seconds; generous, since the provider's clock may be wrong
# Keyed by the end of the algorithm's name (section 3.1.3.6; RFC 7518 section 3.1, 8037, 8812).
HASHES: Mapping[str, Callable[[bytes], Any]] = {
    "256": hashlib.sha256,
    "256K": hashlib.sha256,
    "384": hashlib.sha384,
    "512": hashlib.sha512,
    "EdDSA": hashlib.sha512,
    "Ed25519": hashlib.sha512,
}


class InvalidIdToken(Exception):
    """This id token is not valid; the message is a fixed sentence."""

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code


class UnreadableIdToken(InvalidIdToken):
    """This is not an id token."""


class MisdirectedIdToken(InvalidIdToken):
    """This id token was issued by another issuer or for another client."""


def verify_id_token(
    id_token: object, *, issuer: str, client_id: str, access_token: str, now: float
) -> dict[str, Any]:
    """Return the claims of an id token that came with an access token. Raises InvalidIdToken."""
    __traceback_hide__ = True
    claims = decode_claims(id_token)
    _check_parties(claims, issuer, client_id)
    _check_subject(claims.get("sub"))
    _check_times(claims, now)
    if claims.get("at_hash") is not None:
        _check_access_token(claims["at_hash"], str(id_token), access_token)
    return claims


def decode_claims(id_token: object) -> dict[str, Any]:
    """Return the claims of a token without validation. Raises UnreadableIdToken."""
    __traceback_hide__ = True
    try:
        if isinstance(id_token, str) and len(id_token) <= MAX_TOKEN_LENGTH:
            claims: dict[str, Any] = jwt.decode(id_token, options={"verify_signature": False})
            if is_shallow(claims):
                return claims
    except (jwt.PyJWTError, RecursionError, TypeError, ValueError):
        pass
    raise UnreadableIdToken("The id token cannot be read.", Code.ID_TOKEN_UNREADABLE)


def decode_stored_claims(id_token: str | None) -> dict[str, Any]:
    """Return the claims of a stored id token, checked when it came; {} if there are none."""
    __traceback_hide__ = True
    try:
        return decode_claims(id_token)
    except UnreadableIdToken:
        return {}


def _check_parties(claims: Mapping[str, Any], issuer: str, client_id: str) -> None:
    """Check the issuer and the audience; with several audiences, `azp` must be this client."""
    if claims.get("iss") != issuer:
        raise MisdirectedIdToken("The id token is of another issuer.", Code.ID_TOKEN_ISSUER)
    named = claims.get("aud")
    audience = named if isinstance(named, list) else [named]
    if client_id not in audience:
        raise MisdirectedIdToken("The id token is for another client.", Code.ID_TOKEN_AUDIENCE)
    presenter = claims.get("azp")
    if presenter is None and len(audience) > 1:
        raise InvalidIdToken(
            "The id token is for several clients, and names none to present it.",
            Code.ID_TOKEN_AUDIENCE,
        )
    if presenter not in (None, client_id):
        raise MisdirectedIdToken(
            "The id token is for another client to present.", Code.ID_TOKEN_AUDIENCE
        )


def _check_subject(subject: object) -> None:
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX:
        raise InvalidIdToken(
            "The id token's subject is missing or too long.", Code.ID_TOKEN_SUBJECT
        )
    if not subject.isascii():
        raise InvalidIdToken("The id token's subject is not ASCII.", Code.ID_TOKEN_SUBJECT)


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    issued_at, ends_at = _time(claims, "iat"), _time(claims, "exp")
    if issued_at > now + CLOCK_DIFFERENCE:
        raise InvalidIdToken("The id token was issued in the future.", Code.ID_TOKEN_TIME)
    if issued_at < now - AGE_MAX:
        raise InvalidIdToken("The id token was issued too long ago.", Code.ID_TOKEN_TIME)
    if ends_at <= now - CLOCK_DIFFERENCE:
        raise InvalidIdToken("The id token has expired.", Code.ID_TOKEN_TIME)
    if "nbf" in claims and _time(claims, "nbf") > now + CLOCK_DIFFERENCE:
        raise InvalidIdToken("The id token is not valid yet.", Code.ID_TOKEN_TIME)


def _check_access_token(at_hash: object, id_token: str, access_token: str) -> None:
    __traceback_hide__ = True
    algorithm = str(jwt.get_unverified_header(id_token).get("alg"))
    digest = next((HASHES[end] for end in HASHES if algorithm.endswith(end)), None)
    if digest is None:
        raise InvalidIdToken(
            "The id token's hash of the access token cannot be compared.",
            Code.ID_TOKEN_ACCESS_TOKEN,
        )
    # JSON can contain lone surrogates. They must compare as different, not raise an error.
    whole = digest(access_token.encode(errors="surrogatepass")).digest()
    expected = encode_base64url(whole[: len(whole) // 2]).encode("ascii")
    given = at_hash.encode(errors="surrogatepass") if isinstance(at_hash, str) else b""
    if not hmac.compare_digest(given, expected):
        raise InvalidIdToken(
            "The id token came with another access token.", Code.ID_TOKEN_ACCESS_TOKEN
        )


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidIdToken(f"The id token has no usable {name}.", Code.ID_TOKEN_TIME)
    return value
