"""The addresses of a provider that its metadata does not name, or names otherwise."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import ProviderVariables

# By the name that metadata has for each (OpenID Connect Discovery section 3; RFC 8414).
ENDPOINTS = {
    "authorization_endpoint": ProviderVariables.authorization_url,
    "token_endpoint": ProviderVariables.token_url,
    "userinfo_endpoint": ProviderVariables.userinfo_url,
    "jwks_uri": ProviderVariables.jwks_url,
}


def read(variables: ProviderVariables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found = {name: url for name, each in ENDPOINTS.items() if (url := variables.read(each))}
    for name, url in found.items():
        variables.get_origin(ENDPOINTS[name], url)
    return {"openid_configuration_overrides": found} if found else {}
