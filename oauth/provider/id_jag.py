"""Identity assertions (ID-JAG): a provider vouches for a person at another authorization server.

The names of the draft, and the checks of an assertion that this gateway received for an issuer. Its
signature is the issuer's to check: the assertion came over TLS directly from the provider, and only
that issuer uses it. What is checked here keeps one that is for somebody else from being sent there.

https://datatracker.ietf.org/doc/draft-ietf-oauth-identity-assertion-authz-grant/
"""

# ruff: noqa: S105 - names of types of tokens

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from oauth.provider.id_token import CLOCK_DIFFERENCE, UnreadableIdToken, decode_claims
from oauth.provider.token_set import MAX_TOKEN_LENGTH, TOKEN

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693 section 2.1
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 section 2.1
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # RFC 8693 section 3
PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
MEDIA_TYPE = "oauth-id-jag+jwt"
NO_ACCESS_TOKEN = "n_a"  # RFC 8693 section 2.2.1; token types are case-insensitive


class InvalidAssertion(Exception):
    """The provider's response is no assertion for this purpose; the message is a fixed sentence."""


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What an assertion is for: the issuer that gets it, the client there, and the resource."""

    audience: str
    client_id: str
    resource: str


def read_assertion(response: Mapping[str, Any], purpose: Purpose, *, now: float) -> str:
    """Return the assertion in a response to a token exchange. Raises InvalidAssertion."""
    __traceback_hide__ = True
    if response.get("issued_token_type") != ID_JAG:
        raise InvalidAssertion("The provider issued a token of another type.")
    token_type = response.get("token_type")
    if not isinstance(token_type, str) or token_type.lower() != NO_ACCESS_TOKEN:
        raise InvalidAssertion("The provider issued an access token.")
    assertion = response.get("access_token")
    if not isinstance(assertion, str) or len(assertion) > MAX_TOKEN_LENGTH:
        raise InvalidAssertion("The assertion is missing, or too long.")
    if not TOKEN.fullmatch(assertion):
        raise InvalidAssertion("The assertion has characters that cannot be sent.")
    _check_claims(_decode(assertion), purpose, now)
    return assertion


def _decode(assertion: str) -> dict[str, Any]:
    """Return the claims of an assertion, by its type. Raises InvalidAssertion."""
    __traceback_hide__ = True
    try:
        claims = decode_claims(assertion)
        media_type = jwt.get_unverified_header(assertion).get("typ")
    except (UnreadableIdToken, jwt.PyJWTError, ValueError):
        raise InvalidAssertion("The assertion cannot be read.") from None
    if media_type != MEDIA_TYPE:
        raise InvalidAssertion("The assertion is a JWT of another type.")
    return claims


def _check_claims(claims: Mapping[str, Any], purpose: Purpose, now: float) -> None:
    __traceback_hide__ = True
    if claims.get("aud") not in (purpose.audience, [purpose.audience]):
        raise InvalidAssertion("The assertion is for another issuer.")
    if claims.get("client_id") != purpose.client_id:
        raise InvalidAssertion("The assertion is for another client.")
    expires_at = claims.get("exp")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        raise InvalidAssertion("The assertion has no end.")
    if not expires_at > now - CLOCK_DIFFERENCE:
        raise InvalidAssertion("The assertion has expired.")
    if "resource" in claims and claims["resource"] not in (purpose.resource, [purpose.resource]):
        raise InvalidAssertion("The assertion is for another resource.")
    if "cnf" in claims:  # This gateway has no key at the issuer that could confirm it.
        raise InvalidAssertion("The assertion is bound to a key.")
