"""Apple's client secret: a token that is made from a key of the developer's team.

https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
"""

from __future__ import annotations

import logging
from pathlib import Path

import jwt

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.provider.config import Provider

logger = logging.getLogger(__name__)

AUDIENCE = "https://appleid.apple.com"
CANCELLED = "user_cancelled_authorize"
LIFETIME = 300  # seconds; Apple takes six months at most, and a stolen one serves as long


def client_secret(provider: Provider, *, now: int) -> str:
    """Return a new secret of this moment, signed with the P-256 key that Apple knows by its id.

    The key is read each time, so that it may be replaced while the gateway runs. Raises
    ProviderUnavailable when it cannot be used.
    """
    __traceback_hide__ = True
    claims = {
        "iss": provider.apple_team_id,
        "iat": now,
        "exp": now + LIFETIME,
        "aud": AUDIENCE,
        "sub": provider.client_id,
    }
    try:
        pem = Path(provider.private_key_file or "").read_bytes()
        return jwt.encode(claims, pem, "ES256", {"kid": provider.private_key_id})
    except (OSError, TypeError, ValueError, jwt.PyJWTError):
        pass
    logger.error("The private key of the provider %s cannot be used.", provider.name)
    raise ProviderUnavailable(
        "This gateway cannot authenticate itself to the provider.", Code.CLIENT_KEY
    )
