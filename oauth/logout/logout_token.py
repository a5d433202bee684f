"""Verifies logout tokens (OpenID Connect Back-Channel Logout 1.0).

Takes the token, the expected issuer and audience, and the time; returns the token's claims. Every
fault raises `InvalidLogoutToken` with a fixed sentence. Sessions and replay are checked elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from oauth.provider.signing_keys import ALGORITHMS

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPES = frozenset({"logout+jwt", "jwt"})
TOKEN_MAX = 16 * 1024  # characters
NAME_MAX = 1024  # characters of a session id or a token's id
SUBJECT_MAX = 255  # characters; OpenID Connect Core section 2
VERIFICATIONS_MAX = 2  # of one token: a provider may have two keys with one id, rarely more
CLOCK_DIFFERENCE = 60  # seconds
AGE_MAX = 600  # seconds; section 2.4 recommends a lifetime of at most two minutes
JSON_ERRORS = (jwt.PyJWTError, RecursionError, TypeError, ValueError)

# The claims are checked here, against the time that is passed in.
SIGNATURE_ONLY = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}

FindKeys = Callable[[str | None, str], Sequence[Any]]


class InvalidLogoutToken(Exception):
    """The logout token is not valid; the message is a fixed sentence."""


@dataclass(frozen=True)
class LogoutToken:
    """The claims of a valid token. From ``ends_at`` on it is rejected as too old."""

    issuer: str
    id: str
    subject: str | None
    session_id: str | None
    ends_at: int


def verify_logout_token(
    token: str, *, issuer: str, client_id: str, find_keys: FindKeys, now: float
) -> LogoutToken:
    """Return the claims of a token that is valid by section 2.6 of the specification.

    ``find_keys`` returns the issuer's keys for a key id and an algorithm. Raises
    InvalidLogoutToken, and the errors of ``find_keys``.
    """
    claims = _verify_signature(token, find_keys)
    _require(claims.get("iss") == issuer, "The logout token is of another issuer.")
    _require(
        _is_sole_audience(claims.get("aud"), client_id), "The logout token is for another client."
    )
    ends_at = _check_times(claims, now)
    _require("nonce" not in claims, "The logout token has a nonce, which is prohibited.")
    _check_events(claims.get("events"))
    subject, session_id = _optional_text(claims, "sub", SUBJECT_MAX), _optional_text(claims, "sid")
    _require(bool(subject or session_id), "The logout token names neither sub nor sid.")
    token_id = _optional_text(claims, "jti")
    if token_id is None:
        raise InvalidLogoutToken("The logout token has no jti.")
    return LogoutToken(issuer, token_id, subject, session_id, ends_at)


def _verify_signature(token: str, find_keys: FindKeys) -> Mapping[str, Any]:
    """Return the claims of a token signed with one of the keys."""
    _require(len(token) <= TOKEN_MAX, "The logout token is too long.")
    _require(token.count(".") == 2, "The logout token is not a signed JWT.")
    header = _read_header(token)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidLogoutToken("The logout token is not signed by an accepted algorithm.")
    for key in find_keys(key_id, algorithm)[:VERIFICATIONS_MAX]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options=SIGNATURE_ONLY,  # type: ignore[arg-type]  # its TypedDict has these keys
            )
        except jwt.InvalidSignatureError:
            continue
        except JSON_ERRORS:
            raise InvalidLogoutToken("The logout token cannot be read.") from None
        return claims
    raise InvalidLogoutToken("The logout token is not signed by a key of the provider.")


def _read_header(token: str) -> Mapping[str, Any]:
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except JSON_ERRORS:
        raise InvalidLogoutToken("The logout token cannot be read.") from None
    _require("crit" not in header, "The logout token needs an unknown extension.")
    token_type = header.get("typ", "JWT")
    _require(
        isinstance(token_type, str) and token_type.lower().removeprefix("application/") in TYPES,
        "The token is of another type than a logout token.",
    )
    return header


def _is_sole_audience(audience: object, client_id: str) -> bool:
    """Return True if the client is the only audience."""
    named = audience if isinstance(audience, list) else [audience]
    return bool(named) and all(each == client_id for each in named)


def _check_times(claims: Mapping[str, Any], now: float) -> int:
    issued_at, ends_at = _time(claims, "iat"), _time(claims, "exp")
    _require(issued_at <= now + CLOCK_DIFFERENCE, "The logout token was issued in the future.")
    _require(now < ends_at + CLOCK_DIFFERENCE, "The logout token has expired.")
    _require(
        now < issued_at + AGE_MAX + CLOCK_DIFFERENCE, "The logout token was issued too long ago."
    )
    if "nbf" in claims:
        valid_from = _time(claims, "nbf")
        _require(valid_from <= now + CLOCK_DIFFERENCE, "The logout token is not valid yet.")
    return math.ceil(min(ends_at, issued_at + AGE_MAX)) + CLOCK_DIFFERENCE


def _check_events(events: object) -> None:
    _require(
        isinstance(events, dict) and isinstance(events.get(EVENT), dict),
        "The logout token does not name the logout event.",
    )


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidLogoutToken(f"The logout token has no usable {name}.")
    return value


def _optional_text(claims: Mapping[str, Any], name: str, maximum: int = NAME_MAX) -> str | None:
    """Return a claim that is absent or a non-empty string of at most ``maximum`` characters."""
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str) or not 0 < len(value) <= maximum:
        raise InvalidLogoutToken(f"The logout token's {name} cannot be used.")
    return value


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidLogoutToken(message)
