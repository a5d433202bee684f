"""The addresses of this site that a provider must know."""

from __future__ import annotations

from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.urls import reverse

from oauth.provider.config import Provider


def callback_address(provider: Provider, site: str | None) -> str | None:
    """Return where the provider leads browsers back to: the redirect URI."""
    if site is None:
        return None
    kind = registry.get_class(provider.kind)
    if kind is not None and issubclass(kind, OpenIDConnectProvider):
        return site + reverse(f"{kind.id}_callback", kwargs={"provider_id": provider.name})
    return site + reverse(f"{provider.kind}_callback")
