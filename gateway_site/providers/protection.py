"""How sign-ins and tokens are protected: pushed requests, and tokens that are bound to a key."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import ProviderVariables


def read(variables: ProviderVariables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found: dict[str, Any] = {}
    if isinstance(variables.par, bool):
        found["par"] = variables.par
    if variables.dpop:
        found["dpop"] = True
    return found
