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
)
AUDIENCES = ("issuer", "endpoint")
METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.providers`. Raises ImproperlyConfigured."""
    method, key = variables.text("TOKEN_AUTH"), variables.text("PRIVATE_KEY_FILE")
    if method and method not in METHODS:
        raise variables.error("TOKEN_AUTH", f"must be one of {', '.join(METHODS)}.")
    if (method == "private_key_jwt") != bool(key):
        raise ImproperlyConfigured(
            f"{variables.variable('PRIVATE_KEY_FILE')} and "
            f"{variables.variable('TOKEN_AUTH')}=private_key_jwt need each other."
        )
    if method.startswith("client_secret") and not variables.text("CLIENT_SECRET"):
        raise variables.error("TOKEN_AUTH", f"needs {variables.variable('CLIENT_SECRET')}.")
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
