"""An OpenID Connect provider without oddities, and what others may do otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway_site.providers import client, endpoints
from gateway_site.providers.provider import OPENID
from gateway_site.providers.variables import Variables

SUFFIXES = (
    "ISSUER",
    "SCOPES",
    "AUTH_PARAMS",
    "CLIENT_PROMPT",
    "FORM_ACTION",
    "ID_FIELD",
    "ALLOWED_TENANTS",
)


# OpenID Connect Core 1.0 section 3.1.2.1; `none` would show nothing.
PROMPTS = frozenset({"consent", "login", "select_account"})
UNCHANGED = "unchanged"


class Kind:
    """How one provider is asked. Each method may raise ImproperlyConfigured."""

    label: str | None = None
    allauth_kind = OPENID
    default_scopes: tuple[str, ...] = ("openid", "profile", "email")
    default_auth_params: Mapping[str, str] = {}
    default_client_prompt: str | None = None

    def __init__(self, variables: Variables) -> None:
        self.variables = variables

    def issuer(self) -> str | None:
        """Return the issuer without its last slash, None where there is no OpenID Connect."""
        issuer = self.variables.text("ISSUER")
        if not issuer:
            raise self.variables.error(
                "ISSUER",
                "is missing: the provider's OpenID Connect issuer, such as "
                "https://login.example.com. (One without OpenID Connect has "
                f"{self.variables.variable('AUTHORIZATION_URL')} and others in place of it.)",
            )
        self.variables.origin("ISSUER", issuer)
        return issuer.rstrip("/")  # allauth appends "/.well-known/…"

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for."""
        scopes = self.variables.words("SCOPES") or self.default_scopes
        if "openid" not in scopes:
            raise self.variables.error("SCOPES", "must include openid.")
        return scopes

    def auth_params(self) -> Mapping[str, str]:
        """Return further parameters of the authorization request."""
        pairs = [pair.partition("=") for pair in self.variables.words("AUTH_PARAMS")]
        if not all(key and value for key, _, value in pairs):
            raise self.variables.error(
                "AUTH_PARAMS", "must be pairs, such as prompt=consent,audience=api."
            )
        return {key: value for key, _, value in pairs} or self.default_auth_params

    def client_prompt(self) -> str | None:
        """Return the `prompt` that follows a consent; None where the provider's metadata decides.

        A `prompt` among the further parameters goes before the kind's own default.
        """
        prompts = self.variables.text("CLIENT_PROMPT").split()
        if not PROMPTS.issuperset(prompts) and prompts != [UNCHANGED]:
            raise self.variables.error(
                "CLIENT_PROMPT",
                f"must be {UNCHANGED}, or one or more of {', '.join(sorted(PROMPTS))}, with blanks "
                "between them.",
            )
        if not prompts and "prompt" in self.auth_params():
            return None
        return " ".join(prompts) or self.default_client_prompt

    def form_action(self) -> tuple[str, ...]:
        """Return the origins that the way to the sign-in page leads over."""
        more = [
            self.variables.origin("FORM_ACTION", url) for url in self.variables.words("FORM_ACTION")
        ]
        return tuple(dict.fromkeys([*self.sign_in_origins(), *more]))

    def sign_in_origins(self) -> list[str]:
        """Return the origins of the sign-in page, as far as the other variables tell."""
        named = {each: self.variables.text(each) for each in ("ISSUER", "AUTHORIZATION_URL")}
        return [self.variables.origin(suffix, url) for suffix, url in named.items() if url]

    def client(self) -> dict[str, Any]:
        """Return how the token endpoint is shown who asks, as `oauth.provider.config` calls it."""
        return client.read(self.variables)

    def settings(self) -> dict[str, Any]:
        """Return what `oauth.provider.config` has to know besides the rest."""
        self.variables.refuse(
            ["ALLOWED_TENANTS"], "is for Entra ID's issuers common and organizations alone."
        )
        self.variables.refuse(["ID_FIELD"], "is for a provider without an issuer alone.")
        return {}

    def _refuse_offline_access(self, instead: str) -> None:
        if "offline_access" in self.variables.words("SCOPES"):
            raise self.variables.error("SCOPES", f"must not hold offline_access: {instead}")


class BuiltIn(Kind):
    """A provider whose addresses are known."""

    built_in_issuer: str | None = None
    origin: str

    def issuer(self) -> str | None:
        """Return the issuer that is built in, and refuse another."""
        self.variables.refuse(
            ["ISSUER", *endpoints.SUFFIXES],
            "is built in: remove it, or choose another provider name.",
        )
        return self.built_in_issuer

    def sign_in_origins(self) -> list[str]:
        """Return the one that is built in."""
        return [self.origin]
