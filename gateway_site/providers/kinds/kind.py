"""An OpenID Connect provider without oddities, and what others may do otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway_site.providers.provider import OPENID
from gateway_site.providers.variables import Variables

SUFFIXES = ("ISSUER", "SCOPES", "AUTH_PARAMS", "FORM_ACTION")


class Kind:
    """How one provider is asked. Each method may raise ImproperlyConfigured."""

    label: str | None = None
    allauth_kind = OPENID
    default_scopes: tuple[str, ...] = ("openid", "profile", "email")
    default_auth_params: Mapping[str, str] = {}

    def __init__(self, variables: Variables) -> None:
        self.variables = variables

    def issuer(self) -> str | None:
        """Return the issuer without its last slash, None where there is no OpenID Connect."""
        issuer = self.variables.text("ISSUER")
        if not issuer:
            raise self.variables.error(
                "ISSUER",
                "is missing: the provider's OpenID Connect issuer, "
                "such as https://login.example.com.",
            )
        self.variables.origin("ISSUER", issuer)
        return issuer.rstrip("/")  # allauth appends "/.well-known/…"

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for."""
        scopes = self.variables.list("SCOPES") or self.default_scopes
        if "openid" not in scopes:
            raise self.variables.error("SCOPES", "must include openid.")
        return scopes

    def auth_params(self) -> Mapping[str, str]:
        """Return further parameters of the authorization request."""
        pairs = [pair.partition("=") for pair in self.variables.list("AUTH_PARAMS")]
        if not all(key and value for key, _, value in pairs):
            raise self.variables.error(
                "AUTH_PARAMS", "must be pairs, such as prompt=consent,audience=api."
            )
        return {key: value for key, _, value in pairs} or self.default_auth_params

    def form_action(self) -> tuple[str, ...]:
        """Return the origins that the way to the sign-in page leads over."""
        more = self.variables.list("FORM_ACTION")
        return (self.sign_in_origin(), *(self.variables.origin("FORM_ACTION", url) for url in more))

    def sign_in_origin(self) -> str:
        """Return the origin of the authorization endpoint, as far as the variables tell."""
        return self.variables.origin("ISSUER", self.issuer() or "")

    def settings(self) -> dict[str, Any]:
        """Return what `oauth.providers` has to know besides the rest."""
        return {}


class BuiltIn(Kind):
    """A provider whose addresses are known."""

    label: str
    built_in_issuer: str | None = None

    def issuer(self) -> str | None:
        """Return the issuer that is built in, and refuse another."""
        if self.variables.text("ISSUER"):
            raise self.variables.error(
                "ISSUER", "is built in: remove it, or choose another provider name."
            )
        return self.built_in_issuer

    def sign_in_origin(self) -> str:
        """Return the issuer's origin."""
        return self.variables.origin("ISSUER", self.built_in_issuer or "")
