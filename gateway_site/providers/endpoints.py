"""The addresses of a provider that its metadata does not name, or names otherwise."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import Variables

# By the name that metadata has for each (OpenID Connect Discovery section 3; RFC 8414).
ENDPOINTS = {
    "authorization_endpoint": "AUTHORIZATION_URL",
    "token_endpoint": "TOKEN_URL",
    "userinfo_endpoint": "USERINFO_URL",
    "jwks_uri": "JWKS_URL",
}
SUFFIXES = tuple(ENDPOINTS.values())


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found = {name: url for name, each in ENDPOINTS.items() if (url := variables.text(each))}
    for name, url in found.items():
        variables.origin(ENDPOINTS[name], url)
    return {"openid_configuration_overrides": found} if found else {}
