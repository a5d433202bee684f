"""How the gateway shows a provider's token endpoint who it is."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.variables import Variables

SUFFIXES = (
    "CLIENT_SECRET",
    "TOKEN_AUTH",
    "PRIVATE_KEY_FILE",
    "PRIVATE_KEY_ID",
    "ASSERTION_AUDIENCE",
    "TEAM_ID",
)
AUDIENCES = ("issuer", "endpoint")
METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    variables.refuse(["TEAM_ID"], "is Apple's alone, whose provider name is OAUTH_APPLE_….")
    method, key = variables.text("TOKEN_AUTH"), variables.text("PRIVATE_KEY_FILE")
    if method and method not in METHODS:
        raise variables.error("TOKEN_AUTH", f"must be one of {', '.join(METHODS)}.")
    if (method == "private_key_jwt") != bool(key):
        raise ImproperlyConfigured(
            f"{variables.variable('PRIVATE_KEY_FILE')} and "
            f"{variables.variable('TOKEN_AUTH')}=private_key_jwt need each other."
        )
    if not key:
        _require_secret(variables)
    audience = variables.text("ASSERTION_AUDIENCE")
    if audience and (audience not in AUDIENCES or not key):
        raise variables.error(
            "ASSERTION_AUDIENCE",
            f"must be {' or '.join(AUDIENCES)}, and needs "
            f"{variables.variable('PRIVATE_KEY_FILE')}.",
        )
    found = {
        "token_auth_method": method,
        "private_key_file": key,
        "private_key_id": variables.text("PRIVATE_KEY_ID"),
        "assertion_audience": audience,
    }
    return {name: value for name, value in found.items() if value}


def _require_secret(variables: Variables) -> None:
    """Refuse a public client: a back end for browsers is a confidential one (RFC 10017)."""
    if not variables.text("CLIENT_SECRET"):
        raise variables.error(
            "CLIENT_SECRET",
            "is missing: register the gateway as a confidential client (a web application), or "
            f"set {variables.variable('PRIVATE_KEY_FILE')} with "
            f"{variables.variable('TOKEN_AUTH')}=private_key_jwt.",
        )
