"""Reads the settings from each group of a provider's variables.

The settings have the names of `oauth.provider.config`. Each reader raises ImproperlyConfigured with
the name of the variable.
"""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.parsers import read_origin
from gateway_site.providers.variables import ProviderVariables


def read_client(variables: ProviderVariables) -> dict[str, Any]:
    """Read the gateway's client authentication at the token endpoint."""
    variables.reject(
        [ProviderVariables.team_id], "is only for Apple, whose variables are OAUTH_APPLE_…."
    )
    method, key = variables.token_auth, variables.private_key_file
    if (method == "private_key_jwt") != bool(key):
        raise ImproperlyConfigured(
            f"{variables.get_name(ProviderVariables.private_key_file)} and "
            f"{variables.get_name(ProviderVariables.token_auth)}=private_key_jwt need each other."
        )
    if not key and not variables.client_secret:
        # A backend for frontend is a confidential client (RFC 10017), never a public one.
        raise variables.error(
            ProviderVariables.client_secret,
            "is missing: register the gateway as a confidential client (a web application), or "
            f"set {variables.get_name(ProviderVariables.private_key_file)} with "
            f"{variables.get_name(ProviderVariables.token_auth)}=private_key_jwt.",
        )
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


ENDPOINTS = {
    "authorization_endpoint": ProviderVariables.authorization_url,
    "token_endpoint": ProviderVariables.token_url,
    "userinfo_endpoint": ProviderVariables.userinfo_url,
    "jwks_uri": ProviderVariables.jwks_url,
}


def read_endpoints(variables: ProviderVariables) -> dict[str, Any]:
    """Read the endpoints that are missing or wrong in the metadata."""
    found = {name: url for name, each in ENDPOINTS.items() if (url := variables.read(each))}
    for name, url in found.items():
        read_origin(variables, ENDPOINTS[name], url)
    return {"openid_configuration_overrides": found} if found else {}


def read_protection(variables: ProviderVariables) -> dict[str, Any]:
    """Read the protection of sign-ins and tokens: pushed requests and DPoP."""
    par = variables.par if isinstance(variables.par, bool) else None
    return _known(par=par, dpop=variables.dpop or None)


def read_tokens(variables: ProviderVariables) -> dict[str, Any]:
    """Read when tokens are refreshed, and when and where they are revoked."""
    url = variables.revocation_url
    if url:
        read_origin(variables, ProviderVariables.revocation_url, url)
    return _known(
        revocation_url=url or None,
        revocation=variables.revocation or None,
        refresh_leeway=variables.refresh_leeway,
    )


def read_network(variables: ProviderVariables) -> dict[str, Any]:
    """Read the trusted networks and certificates.

    Plain http is only used in private networks (`oauth.network.vetted_addresses`), so ALLOW_HTTP
    implies ALLOW_PRIVATE.
    """
    allow_private, allow_http = variables.allow_private, variables.allow_http
    if allow_http and allow_private is False:
        raise variables.error(
            ProviderVariables.allow_http,
            "leads to private networks: remove "
            f"{variables.get_name(ProviderVariables.allow_private)}.",
        )
    return _known(
        allow_private=allow_private or allow_http or None,
        allow_http=allow_http or None,
        ca_file=variables.ca_file,
    )


def read_logout(variables: ProviderVariables) -> dict[str, Any]:
    """Read the effects of a sign-out here at the provider, and of one there here."""
    single = "hint" if variables.single_logout is True else variables.single_logout
    return _known(single_logout=single or None, backchannel_logout=variables.backchannel_logout)


def _known(**settings: object) -> dict[str, Any]:
    """Return the settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}
