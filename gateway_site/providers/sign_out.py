"""What signing out here means to a provider, and signing out there to the gateway."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import ProviderVariables


def read(variables: ProviderVariables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found: dict[str, Any] = {}
    if single := variables.single_logout:
        found["single_logout"] = "hint" if single is True else single
    back = variables.backchannel_logout
    return found if back is None else found | {"backchannel_logout": back}
