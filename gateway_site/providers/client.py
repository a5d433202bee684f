"""How the gateway shows a provider's token endpoint who it is."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.variables import ProviderVariables


def read(variables: ProviderVariables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    variables.reject(
        [ProviderVariables.team_id], "is only for Apple, whose variables are OAUTH_APPLE_…."
    )
    method, key = variables.token_auth, variables.private_key_file
    if (method == "private_key_jwt") != bool(key):
        raise ImproperlyConfigured(
            f"{variables.get_name(ProviderVariables.private_key_file)} and "
            f"{variables.get_name(ProviderVariables.token_auth)}=private_key_jwt need each other."
        )
    if not key:
        _require_secret(variables)
    if not key and variables.assertion_audience:
        raise variables.error(
            ProviderVariables.assertion_audience,
            f"needs {variables.get_name(ProviderVariables.private_key_file)}.",
        )
    found = {
        "token_auth_method": method,
        "private_key_file": key,
        "private_key_id": variables.private_key_id,
        "assertion_audience": variables.assertion_audience,
    }
    return {name: value for name, value in found.items() if value}


def _require_secret(variables: ProviderVariables) -> None:
    """Refuse a public client: a back end for browsers is a confidential one (RFC 10017)."""
    if not variables.client_secret:
        raise variables.error(
            ProviderVariables.client_secret,
            "is missing: register the gateway as a confidential client (a web application), or "
            f"set {variables.get_name(ProviderVariables.private_key_file)} with "
            f"{variables.get_name(ProviderVariables.token_auth)}=private_key_jwt.",
        )
