"""What becomes of a provider's tokens: when they are refreshed, where they are revoked."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import ProviderVariables


def read(variables: ProviderVariables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found: dict[str, Any] = {}
    if url := variables.revocation_url:
        variables.get_origin(ProviderVariables.revocation_url, url)
        found["revocation_url"] = url
    if variables.refresh_leeway is not None:
        found["refresh_leeway"] = variables.refresh_leeway
    return found
