"""What becomes of a provider's tokens: when they are refreshed, where they are revoked."""

from __future__ import annotations

import re
from typing import Any

from gateway_site.providers.variables import Variables

SUFFIXES = ("REVOCATION_URL", "REFRESH_LEEWAY")
LEEWAY_MAX = 3600  # seconds


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found: dict[str, Any] = {}
    if url := variables.text("REVOCATION_URL"):
        variables.origin("REVOCATION_URL", url)
        found["revocation_url"] = url
    if leeway := variables.text("REFRESH_LEEWAY"):
        if not re.fullmatch(r"[0-9]{1,4}", leeway) or int(leeway) > LEEWAY_MAX:
            raise variables.error("REFRESH_LEEWAY", f"must be seconds, {LEEWAY_MAX} at most.")
        found["refresh_leeway"] = int(leeway)
    return found
