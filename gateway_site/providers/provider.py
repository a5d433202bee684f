"""One configured provider, and the entry of allauth's settings that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OPENID = "openid_connect"  # allauth's kind that may have many providers


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One configured provider. ``settings`` are what `oauth.provider.config` calls them."""

    name: str
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    issuer: str | None
    scopes: tuple[str, ...]
    auth_params: Mapping[str, str]
    form_action: tuple[str, ...]
    allauth_kind: str = OPENID
    settings: Mapping[str, Any] = field(default_factory=dict)

    def allauth_app(self) -> dict[str, Any]:
        """Return this provider as an entry of allauth's `APPS`, PKCE on (RFC 7636)."""
        settings: dict[str, Any] = {
            "oauth_pkce_enabled": True,
            "scope": list(self.scopes),
            "auth_params": dict(self.auth_params),
            **self.settings,
        }
        app = {"name": self.label, "client_id": self.client_id, "secret": self.client_secret}
        if self.allauth_kind != OPENID:
            return app | {"settings": settings}
        return app | {
            "provider_id": self.name,
            "settings": settings | {"server_url": self.issuer, "uid_field": "sub"},
        }
