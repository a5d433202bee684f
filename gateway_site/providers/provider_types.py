"""One configured provider, and the types of providers: OpenID Connect, or plain OAuth 2.0.

A type turns variables into the settings of a provider. Known providers with differences are in
`known_providers`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway_site.environment.parsers import read_origin
from gateway_site.environment.variable import Variable
from gateway_site.providers.subject_settings import ENDPOINTS, read_client
from gateway_site.providers.variables import ProviderVariables

OPENID_CONNECT = "openid_connect"  # the allauth provider that can have many apps


@dataclass(frozen=True, kw_only=True)
class ProviderConfig:
    """One configured provider. `settings` has the names of `oauth.provider.config`."""

    name: str
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    issuer: str | None
    scopes: tuple[str, ...]
    auth_params: Mapping[str, str]
    form_action: tuple[str, ...]
    allauth_kind: str = OPENID_CONNECT
    settings: Mapping[str, Any] = field(default_factory=dict)

    def allauth_app(self) -> dict[str, Any]:
        """Return the provider as an entry of allauth's `APPS`, with PKCE (RFC 7636)."""
        settings: dict[str, Any] = {
            "oauth_pkce_enabled": True,
            "scope": list(self.scopes),
            "auth_params": dict(self.auth_params),
            **self.settings,
        }
        app = {"name": self.label, "client_id": self.client_id, "secret": self.client_secret}
        if self.allauth_kind != OPENID_CONNECT:
            return app | {"settings": settings}
        return app | {
            "provider_id": self.name,
            "settings": settings | {"server_url": self.issuer, "uid_field": "sub"},
        }


class OpenIDProvider:
    """A standard OpenID Connect provider. Every method may raise ImproperlyConfigured."""

    label: str | None = None
    allauth_kind = OPENID_CONNECT
    default_scopes: tuple[str, ...] = ("openid", "profile", "email")
    default_auth_params: Mapping[str, str] = {}
    default_client_prompt: str | None = None
    # For a provider that rejects the scope `offline_access`: how it gives refresh tokens.
    instead_of_offline_access: str | None = None

    def __init__(self, variables: ProviderVariables) -> None:
        self.variables = variables

    def issuer(self) -> str | None:
        """Return the issuer without a trailing slash; None without OpenID Connect."""
        issuer = self.variables.issuer
        if not issuer:
            raise self.variables.error(
                ProviderVariables.issuer,
                "is missing: the provider's OpenID Connect issuer, such as "
                "https://login.example.com. (One without OpenID Connect has "
                f"{self.variables.get_name(ProviderVariables.authorization_url)} and others in "
                "place of it.)",
            )
        read_origin(self.variables, ProviderVariables.issuer, issuer)
        return issuer.rstrip("/")  # allauth appends "/.well-known/…"

    def scopes(self) -> tuple[str, ...]:
        """Return the scopes to request."""
        scopes = self.variables.scopes or self.default_scopes
        if self.instead_of_offline_access and "offline_access" in scopes:
            raise self.variables.error(
                ProviderVariables.scopes,
                f"must not hold offline_access: {self.instead_of_offline_access}",
            )
        if "openid" not in scopes:
            raise self.variables.error(ProviderVariables.scopes, "must include openid.")
        return scopes

    def auth_params(self) -> Mapping[str, str]:
        """Return additional parameters of the authorization request."""
        return self.variables.auth_params or self.default_auth_params

    def client_prompt(self) -> str | None:
        """Return the `prompt` after a consent; None if the provider's metadata decides.

        A `prompt` in AUTH_PARAMS takes precedence over the type's default.
        """
        prompt = self.variables.client_prompt
        if not prompt and "prompt" in self.auth_params():
            return None
        return prompt or self.default_client_prompt

    def form_action(self) -> tuple[str, ...]:
        """Return the origins of the redirects to the sign-in page."""
        more = [
            read_origin(self.variables, ProviderVariables.form_action, url)
            for url in self.variables.form_action
        ]
        return tuple(dict.fromkeys([*self.sign_in_origins(), *more]))

    def sign_in_origins(self) -> list[str]:
        """Return the origins of the sign-in page in the other variables."""
        named = (ProviderVariables.issuer, ProviderVariables.authorization_url)
        urls = {each: self.variables.read(each) for each in named}
        return [read_origin(self.variables, each, url) for each, url in urls.items() if url]

    def client(self) -> dict[str, Any]:
        """Return the settings for authentication at the token endpoint."""
        return read_client(self.variables)

    def require(self, needed: Collection[Variable[str]], why: str) -> None:
        """Reject missing variables; the error says why, before the names of all."""
        for each in needed:
            if not self.variables.read(each):
                names = ", ".join(one.name for one in needed)
                raise self.variables.error(each, f"is missing: {why} {names}.")

    def settings(self) -> dict[str, Any]:
        """Return all other settings."""
        self.variables.reject(
            [ProviderVariables.allowed_tenants],
            "is only for Entra ID's issuers common and organizations.",
        )
        self.variables.reject(
            [ProviderVariables.id_field], "is only for a provider without an issuer."
        )
        return {}


class BuiltInProvider(OpenIDProvider):
    """A provider with built-in URLs."""

    built_in_issuer: str | None = None
    origin: str

    def issuer(self) -> str | None:
        """Return the built-in issuer, and reject another."""
        self.variables.reject(
            [ProviderVariables.issuer, *ENDPOINTS.values()],
            "is built in: remove it, or choose another provider name.",
        )
        return self.built_in_issuer

    def sign_in_origins(self) -> list[str]:
        """Return the built-in origin."""
        return [self.origin]


OAUTH2_REQUIRED = (
    ProviderVariables.authorization_url,
    ProviderVariables.token_url,
    ProviderVariables.userinfo_url,
    ProviderVariables.id_field,
)
OPENID_ONLY = (
    ProviderVariables.jwks_url,
    ProviderVariables.single_logout,
    ProviderVariables.backchannel_logout,
)


class OAuth2Provider(OpenIDProvider):
    """Plain OAuth 2.0 (RFC 6749): the userinfo identifies the account; nothing is signed."""

    @staticmethod
    def matches(variables: ProviderVariables) -> bool:
        """Return True if these are the variables of such a provider."""
        return not variables.issuer and any(variables.read(each) for each in OAUTH2_REQUIRED)

    def issuer(self) -> None:
        """Return None; reject missing variables."""
        issuer = self.variables.get_name(ProviderVariables.issuer)
        self.require(OAUTH2_REQUIRED, f"a provider without {issuer} needs")
        self.variables.reject(OPENID_ONLY, f"needs {issuer}.")

    def scopes(self) -> tuple[str, ...]:
        """Return the scopes to request, if any."""
        return self.variables.scopes

    def settings(self) -> dict[str, Any]:
        """Return the userinfo field that identifies a person."""
        issuer = self.variables.get_name(ProviderVariables.issuer)
        self.variables.reject([ProviderVariables.allowed_tenants], f"needs {issuer}.")
        return {"identity": [self.variables.id_field]}
