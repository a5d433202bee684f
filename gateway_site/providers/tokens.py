"""What becomes of a provider's tokens: when they are refreshed, where they are revoked."""

from __future__ import annotations

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
    what = f"must be seconds, {LEEWAY_MAX} at most."
    leeway = variables.number("REFRESH_LEEWAY", what, maximum=LEEWAY_MAX)
    if leeway is not None:
        found["refresh_leeway"] = leeway
    return found
