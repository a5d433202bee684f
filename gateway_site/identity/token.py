"""Makes the token that tells one upstream who is calling: a JWT in the shape of RFC 9068."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from gateway_site.identity.keys import SigningKey

TYPE: Final = "at+jwt"  # RFC 9068 section 2.1
# Seconds. Many verifiers allow for no difference between the clocks: a token from the future is
# rejected, and so is one that has just expired.
BACKDATED: Final = 10
LIFETIME: Final = 60


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a token says about one call.

    ``audience`` is the upstream; ``provider`` and ``subject`` are the person's account, and
    ``client_id`` is the OAuth client. ``claims`` are further ones, those with a value.
    """

    audience: str
    provider: str
    subject: str
    client_id: str
    claims: Mapping[str, Any]


@dataclass(frozen=True)
class TokenIssuer:
    """This gateway's origin, and the key that signs its tokens."""

    issuer: str
    key: SigningKey

    def make_token(self, call: Call, now: float) -> str:
        """Return a token for one call; ``now`` is in epoch seconds."""
        __traceback_hide__ = True
        content = {
            **call.claims,
            "iss": self.issuer,
            "aud": call.audience,
            "sub": f"{call.provider}|{call.subject}",
            "client_id": call.client_id,
            "iat": int(now) - BACKDATED,
            "exp": int(now) + LIFETIME,
            "jti": secrets.token_urlsafe(16),
        }
        header = {"typ": TYPE, "kid": self.key.id}
        return jwt.encode(content, self.key.private, self.key.algorithm, header)
