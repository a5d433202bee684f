"""Verifies client assertions: `private_key_jwt` (RFC 7523, updated by RFC 10070).

Takes the assertion, the client, the names of this server, and the time; returns what has to be
stored so that the assertion is accepted once. Claims are checked before keys are looked for, so
that no request is made for an assertion that cannot be valid.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oauth.clients.authentication import jws
from oauth.clients.authentication.jws import ALGORITHMS, UnreadableToken
from oauth.clients.rules.errors import ClientNotAuthenticated
from oauth.provider.signing_keys import KeySet

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYPE: Final = "client-authentication+jwt"  # RFC 10070
TYPES: Final = frozenset({TYPE, "jwt"})

LIFETIME_MAX: Final = 3600  # seconds; Authlib's default is exactly this
CLOCK_DIFFERENCE: Final = 60  # seconds
KEYS_TRIED: Final = 4
ID_MAX: Final = 1024  # characters of `jti`


@dataclass(frozen=True, repr=False)
class Assertion:
    """An assertion whose claims are valid. From ``ends_at`` on, in epoch seconds, it is rejected.

    ``key_id`` and ``algorithm`` are those with which it claims to be signed.
    """

    text: str
    id: str
    ends_at: int
    algorithm: str
    key_id: str | None

    def select_keys(self, keys: KeySet) -> list[Any]:
        """Return the keys of a set that may have signed it: without a key id, at most four."""
        fitting = [
            each.key
            for each in keys
            if self.key_id in (None, each.id) and jws.fits(each, self.algorithm)
        ]
        return fitting[:KEYS_TRIED]

    def is_signed_by_one(self, keys: Sequence[Any]) -> bool:
        """Return True if one of the keys has signed it."""
        return any(jws.is_signed_by(self.text, each, self.algorithm) for each in keys)


def named_client(text: str) -> str | None:
    """Return the `sub` of an assertion that was not verified; None if it cannot be read."""
    try:
        subject = _decode(text)[1].get("sub")
    except ClientNotAuthenticated:
        return None
    return subject if isinstance(subject, str) and subject else None


def read_assertion(
    text: str, *, client_id: str, issuer: str, token_endpoint: str, now: float
) -> Assertion:
    """Return an assertion whose claims are valid; its signature is not verified.

    Raises ClientNotAuthenticated.
    """
    __traceback_hide__ = True
    header, claims = _decode(text)
    is_typed = _check_type(header)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ClientNotAuthenticated("The assertion is not signed by an accepted algorithm.")
    _require(claims.get("iss") == client_id, "The assertion's iss is not the client.")
    _require(claims.get("sub") == client_id, "The assertion's sub is not the client.")
    audiences = {issuer} if is_typed else {issuer, token_endpoint}
    _require(_is_sole(claims.get("aud"), audiences), "The assertion is for another audience.")
    assertion_id = claims.get("jti")
    if not isinstance(assertion_id, str) or not 0 < len(assertion_id) <= ID_MAX:
        raise ClientNotAuthenticated("The assertion has no usable jti.")
    return Assertion(text, assertion_id, _check_times(claims, now), algorithm, key_id)


def _decode(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and claims of an assertion that was not verified."""
    __traceback_hide__ = True
    try:
        return jws.read_unverified(text)
    except UnreadableToken:
        pass
    raise ClientNotAuthenticated("The assertion cannot be read.")


def _check_type(header: Mapping[str, Any]) -> bool:
    """Return True if the header has the type of RFC 10070."""
    _require("crit" not in header, "The assertion needs an unknown extension.")
    name = jws.read_type(header, default="JWT")
    _require(name in TYPES, "The token is of another type than an assertion.")
    return name == TYPE


def _is_sole(audience: object, accepted: Collection[str]) -> bool:
    """Return True if an accepted name is the only audience."""
    named = audience if isinstance(audience, list) else [audience]
    return len(named) == 1 and isinstance(named[0], str) and named[0] in accepted


def _check_times(claims: Mapping[str, Any], now: float) -> int:
    """Return when the assertion is rejected at the latest."""
    ends_at = _time(claims, "exp")
    _require(now < ends_at + CLOCK_DIFFERENCE, "The assertion has expired.")
    _require(
        ends_at <= now + LIFETIME_MAX + CLOCK_DIFFERENCE, "The assertion's exp is too far ahead."
    )
    for name in ("iat", "nbf"):
        if name in claims:
            _require(
                _time(claims, name) <= now + CLOCK_DIFFERENCE, f"The assertion's {name} is ahead."
            )
    return math.ceil(ends_at) + CLOCK_DIFFERENCE


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not jws.is_number(value):
        raise ClientNotAuthenticated(f"The assertion has no usable {name}.")
    return value


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ClientNotAuthenticated(reason)
