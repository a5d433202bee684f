"""Apple's client secret: a token that is made from a key of the developer's team.

https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
"""

from __future__ import annotations

from oauth.provider.client import key
from oauth.provider.config import Provider

AUDIENCE = "https://appleid.apple.com"
CANCELLED = "user_cancelled_authorize"
LIFETIME = 300  # seconds; Apple takes six months at most, and a stolen one serves as long


def client_secret(provider: Provider, *, now: int) -> str:
    """Return a new secret of this moment, signed with the P-256 key that Apple knows by its id.

    Raises ProviderUnavailable when the key cannot be used.
    """
    __traceback_hide__ = True
    claims = {
        "iss": provider.apple_team_id,
        "iat": now,
        "exp": now + LIFETIME,
        "aud": AUDIENCE,
        "sub": provider.client_id,
    }
    return key.signed(provider, claims, ["ES256"], {"kid": provider.private_key_id})
