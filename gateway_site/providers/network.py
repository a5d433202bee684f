"""Over which networks a provider's endpoints are reached."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import Variables

SUFFIXES = ("ALLOW_PRIVATE",)


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.providers`. Raises ImproperlyConfigured."""
    return {"allow_private": True} if variables.flag("ALLOW_PRIVATE") else {}
