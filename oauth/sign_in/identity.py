"""Which claims tell an account at a provider from every other, now and later.

The subject is one (OpenID Connect Core 5.7); other providers have others: Entra ID's is of
one client only, and a plain OAuth 2.0 provider has a name of its own for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider

from oauth.codes import Code
from oauth.exceptions import ProviderRefused
from oauth.provider.config import Provider


def telling_accounts_apart(provider: OpenIDConnectProvider, configured: Provider) -> None:
    """Have allauth know a provider's accounts by what is configured.

    An id token tells them where there is one: it was checked, and its claims are the issuer's.
    """
    source = "userinfo" if configured.issuer is None else "id_token"
    provider.extract_uid = lambda data: identity_of(data[source], configured.identity)


def identity_of(claims: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the identity that these claims make. Raises ProviderRefused where one is missing."""
    found = [_claim(claims, name) for name in names]
    if not all(_tells(each) for each in found):
        raise ProviderRefused("The answer does not say whose account it is.", Code.SUBJECT)
    return ".".join(str(each) for each in found)


def _tells(value: object) -> bool:
    return value != "" and isinstance(value, str | int) and not isinstance(value, bool)


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its exact name, or else by a path with dots."""
    if name in claims:
        return claims[name]
    first, _, rest = name.partition(".")
    inner = claims.get(first) if rest else None
    return _claim(inner, rest) if isinstance(inner, Mapping) else None
