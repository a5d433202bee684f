"""Over which networks a provider's endpoints are reached, and whose word counts there."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import ProviderVariables


def read(variables: ProviderVariables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured.

    Plain http leads to private networks only (`oauth.network.vetted_addresses`), so whoever allows
    the one means the other.
    """
    allow_private, allow_http = variables.allow_private, variables.allow_http
    if allow_http and allow_private is False:
        raise variables.error(
            ProviderVariables.allow_http,
            "leads to private networks: remove "
            f"{variables.get_name(ProviderVariables.allow_private)}.",
        )
    found: dict[str, Any] = {}
    if allow_private or allow_http:
        found["allow_private"] = True
    if allow_http:
        found["allow_http"] = True
    if ca_file := variables.ca_file:
        found["ca_file"] = ca_file
    return found
