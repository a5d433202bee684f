"""An OpenID Connect provider without oddities, and what others may do otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway_site.providers import client, endpoints
from gateway_site.providers.provider import OPENID
from gateway_site.providers.variables import ProviderVariables


class Kind:
    """How one provider is asked. Each method may raise ImproperlyConfigured."""

    label: str | None = None
    allauth_kind = OPENID
    default_scopes: tuple[str, ...] = ("openid", "profile", "email")
    default_auth_params: Mapping[str, str] = {}
    default_client_prompt: str | None = None

    def __init__(self, variables: ProviderVariables) -> None:
        self.variables = variables

    def issuer(self) -> str | None:
        """Return the issuer without its last slash, None where there is no OpenID Connect."""
        issuer = self.variables.issuer
        if not issuer:
            raise self.variables.error(
                ProviderVariables.issuer,
                "is missing: the provider's OpenID Connect issuer, such as "
                "https://login.example.com. (One without OpenID Connect has "
                f"{self.variables.get_name(ProviderVariables.authorization_url)} and others in "
                "place of it.)",
            )
        self.variables.get_origin(ProviderVariables.issuer, issuer)
        return issuer.rstrip("/")  # allauth appends "/.well-known/…"

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for."""
        scopes = self.variables.scopes or self.default_scopes
        if "openid" not in scopes:
            raise self.variables.error(ProviderVariables.scopes, "must include openid.")
        return scopes

    def auth_params(self) -> Mapping[str, str]:
        """Return further parameters of the authorization request."""
        return self.variables.auth_params or self.default_auth_params

    def client_prompt(self) -> str | None:
        """Return the `prompt` that follows a consent; None where the provider's metadata decides.

        A `prompt` among the further parameters goes before the kind's own default.
        """
        prompt = self.variables.client_prompt
        if not prompt and "prompt" in self.auth_params():
            return None
        return prompt or self.default_client_prompt

    def form_action(self) -> tuple[str, ...]:
        """Return the origins that the way to the sign-in page leads over."""
        more = [
            self.variables.get_origin(ProviderVariables.form_action, url)
            for url in self.variables.form_action
        ]
        return tuple(dict.fromkeys([*self.sign_in_origins(), *more]))

    def sign_in_origins(self) -> list[str]:
        """Return the origins of the sign-in page, as far as the other variables tell."""
        named = (ProviderVariables.issuer, ProviderVariables.authorization_url)
        urls = {each: self.variables.read(each) for each in named}
        return [self.variables.get_origin(each, url) for each, url in urls.items() if url]

    def client(self) -> dict[str, Any]:
        """Return how the token endpoint is shown who asks, as `oauth.provider.config` calls it."""
        return client.read(self.variables)

    def settings(self) -> dict[str, Any]:
        """Return what `oauth.provider.config` has to know besides the rest."""
        self.variables.reject(
            [ProviderVariables.allowed_tenants],
            "is only for Entra ID's issuers common and organizations.",
        )
        self.variables.reject(
            [ProviderVariables.id_field], "is only for a provider without an issuer."
        )
        return {}

    def _refuse_offline_access(self, instead: str) -> None:
        if "offline_access" in self.variables.scopes:
            raise self.variables.error(
                ProviderVariables.scopes, f"must not hold offline_access: {instead}"
            )


class BuiltIn(Kind):
    """A provider whose addresses are known."""

    built_in_issuer: str | None = None
    origin: str

    def issuer(self) -> str | None:
        """Return the issuer that is built in, and refuse another."""
        self.variables.reject(
            [ProviderVariables.issuer, *endpoints.ENDPOINTS.values()],
            "is built in: remove it, or choose another provider name.",
        )
        return self.built_in_issuer

    def sign_in_origins(self) -> list[str]:
        """Return the one that is built in."""
        return [self.origin]
