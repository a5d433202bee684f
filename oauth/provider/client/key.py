"""This client's own private key at a provider: claims enter, a signed token leaves.

The key is read each time, so that it may be replaced while the gateway runs. Knows nothing of
what the token is for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jwt

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.provider.config import Provider

logger = logging.getLogger(__name__)


def signed(
    provider: Provider,
    claims: Mapping[str, object],
    algorithms: Iterable[str],
    headers: Mapping[str, Any],
) -> str:
    """Sign with the first of the algorithms that is one of this kind of key.

    Raises ProviderUnavailable when the key cannot be used.
    """
    __traceback_hide__ = True
    try:
        pem = Path(provider.private_key_file or "").read_bytes()
        for algorithm in algorithms:
            if (token := _signed(claims, pem, algorithm, headers)) is not None:
                return token
    except (OSError, ValueError):
        pass
    logger.error("The private key of the provider %s cannot be used.", provider.name)
    raise ProviderUnavailable(
        "This gateway cannot authenticate itself to the provider.", Code.CLIENT_KEY
    )


def _signed(
    claims: Mapping[str, object], pem: bytes, algorithm: str, headers: Mapping[str, Any]
) -> str | None:
    __traceback_hide__ = True
    try:
        return jwt.encode(dict(claims), pem, algorithm, dict(headers))
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
