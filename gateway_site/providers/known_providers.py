"""Known providers and their differences: Apple, Amazon Cognito, Entra ID, GitHub and Google.

GitHub Enterprise Server is a plain OAuth 2.0 provider (`OAuth2Provider`) with its own URLs.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway_site.providers.provider_types import BuiltInProvider, OAuth2Provider, OpenIDProvider
from gateway_site.providers.variables import ProviderVariables

APPLE_REQUIRED = (
    ProviderVariables.team_id,
    ProviderVariables.private_key_file,
    ProviderVariables.private_key_id,
)


class Apple(BuiltInProvider):
    """Apple has no userinfo, and its client secret is a token signed with a key.

    https://developer.apple.com/documentation/signinwithapplerestapi
    """

    label = "Apple"
    built_in_issuer = origin = "https://appleid.apple.com"
    default_scopes = ("openid", "email")
    instead_of_offline_access = "Apple gives refresh tokens without."

    def auth_params(self) -> Mapping[str, str]:
        """Request the response by POST, which Apple requires with any scope.

        https://developer.apple.com/documentation/signinwithapplerestapi/request-an-authorization-to-the-sign-in-with-apple-server.
        """
        return {**super().auth_params(), "response_mode": "form_post"}

    def client(self) -> dict[str, Any]:
        """Return the settings for building the client secret.

        https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
        """
        variables = self.variables
        variables.reject(
            [ProviderVariables.client_secret, ProviderVariables.token_auth],
            "is not needed: the client secret is made from the key.",
        )
        self.require(APPLE_REQUIRED, "Apple's client secret is made from")
        return {
            "token_auth_method": "client_secret_post",
            "apple_team_id": variables.team_id,
            "private_key_file": variables.private_key_file,
            "private_key_id": variables.private_key_id,
        }


COGNITO_HOST = re.compile(r"cognito-idp\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


class Cognito(OpenIDProvider):
    """Cognito's sign-in pages are on another host than its issuer.

    It rejects offline_access (`invalid_scope`).
    https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
    """

    instead_of_offline_access = "Cognito gives refresh tokens without."

    @staticmethod
    def matches(variables: ProviderVariables) -> bool:
        """Return True if the issuer is a user pool."""
        try:
            return bool(COGNITO_HOST.fullmatch(urlsplit(variables.issuer).hostname or ""))
        except ValueError:
            return False

    def sign_in_origins(self) -> list[str]:
        """Return the issuer's origin; require that the user pool's domain is configured as well."""
        if not (self.variables.form_action or self.variables.authorization_url):
            raise self.variables.error(
                ProviderVariables.form_action,
                "is missing: the domain of the user pool's sign-in page, such as "
                "https://example.auth.eu-central-1.amazoncognito.com. Browsers block the button "
                "otherwise.",
            )
        return super().sign_in_origins()


# https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
ENTRA_HOSTS = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
    }
)
ENTRA_ISSUER = re.compile(r"https://[^/]+/([^/]+)/v2\.0/?")
TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHARED_TENANTS = frozenset({"common", "organizations"})


class Entra(OpenIDProvider):
    """Entra ID has many tenants, and its subjects differ for each client.

    https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc
    """

    # A refresh token requires offline_access; `oid` and `tid` require profile.
    # https://learn.microsoft.com/entra/identity-platform/scopes-oidc
    default_scopes = ("openid", "profile", "email", "offline_access")

    # `consent` locks out everybody except administrators if user consent is restricted:
    # https://learn.microsoft.com/entra/identity/enterprise-apps/configure-user-consent
    default_client_prompt = "select_account"

    @staticmethod
    def matches(variables: ProviderVariables) -> bool:
        """Return True if the issuer is one of Entra ID's."""
        try:
            return urlsplit(variables.issuer).hostname in ENTRA_HOSTS
        except ValueError:
            return False

    def issuer(self) -> str | None:
        """Return the issuer of a tenant by its id, or one that all tenants share."""
        found = ENTRA_ISSUER.fullmatch(self.variables.issuer)
        if found is None or not (TENANT.fullmatch(found[1]) or found[1] in SHARED_TENANTS):
            raise self.variables.error(
                ProviderVariables.issuer,
                "must be Entra ID's of version 2, such as "
                "https://login.microsoftonline.com/<tenant id>/v2.0: with the tenant's id (small "
                "letters), not its domain; or with common or organizations.",
            )
        return super().issuer()

    def scopes(self) -> tuple[str, ...]:
        """Return the scopes to request, with those that the identity needs."""
        scopes = super().scopes()
        if "profile" not in scopes:
            raise self.variables.error(
                ProviderVariables.scopes, "must include profile: Entra ID's tid and oid."
            )
        return scopes

    def auth_params(self) -> Mapping[str, str]:
        """Reject `resource`, which version 2 answers with AADSTS901002.

        https://learn.microsoft.com/entra/identity-platform/reference-error-codes
        """
        params = super().auth_params()
        if "resource" in params:
            raise self.variables.error(
                ProviderVariables.auth_params,
                "must not hold resource, which Entra ID refuses: name the API in "
                f"{self.variables.get_name(ProviderVariables.scopes)}, such as api://<id>/.default.",
            )
        return params

    def client(self) -> dict[str, Any]:
        """Return the settings for authentication, as Entra ID documents it.

        https://learn.microsoft.com/entra/identity-platform/certificate-credentials
        """
        return {"assertion_audience": "endpoint", **super().client()}

    def settings(self) -> dict[str, Any]:
        """Return the claims that identify a person, and the trusted tenants.

        https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
        """
        self.variables.reject(
            [ProviderVariables.id_field], "is built in: tid and oid, at Entra ID."
        )
        return {"identity": ["tid", "oid"], **self._tenants()}

    def _tenants(self) -> dict[str, Any]:
        tenants = sorted({each.lower() for each in self.variables.allowed_tenants})
        is_shared = bool(SHARED_TENANTS & set(self.variables.issuer.split("/")))
        if is_shared and not tenants:
            raise self.variables.error(
                ProviderVariables.allowed_tenants,
                "is missing: with the issuer common or organizations everybody who has a tenant "
                "could sign in. List the ids of those that may.",
            )
        if tenants and not is_shared:
            raise self.variables.error(
                ProviderVariables.allowed_tenants,
                "is only for the issuers common and organizations: remove it.",
            )
        if not all(TENANT.fullmatch(each) for each in tenants):
            raise self.variables.error(
                ProviderVariables.allowed_tenants, "must be ids of tenants, not domains."
            )
        return {"allowed_tenants": tenants} if tenants else {}


class GitHub(BuiltInProvider):
    """GitHub has no OpenID Connect; allauth's own provider defines its URLs.

    https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
    """

    label = "GitHub"
    allauth_kind = "github"
    origin = "https://github.com"

    def scopes(self) -> tuple[str, ...]:
        """Return the scopes to request, which may be none: then a token reads public data."""
        return self.variables.scopes

    def settings(self) -> dict[str, Any]:
        """Reject options that GitHub does not support."""
        self.variables.reject(
            [ProviderVariables.par, ProviderVariables.dpop], "is not supported by GitHub."
        )
        return super().settings()


class Google(BuiltInProvider):
    """Google has its own parameter to request refresh tokens; its page rejects offline_access.

    https://developers.google.com/identity/openid-connect/openid-connect
    https://developers.google.com/identity/protocols/oauth2/scopes
    """

    label = "Google"
    built_in_issuer = origin = "https://accounts.google.com"
    # Google issues a refresh token only after a consent with offline access, and earlier tokens are
    # stored only in sessions.
    # https://developers.google.com/identity/protocols/oauth2/web-server#offline
    default_auth_params: Mapping[str, str] = {"access_type": "offline", "prompt": "consent"}
    instead_of_offline_access = (
        "at Google OAUTH_GOOGLE_AUTH_PARAMS has access_type=offline for that."
    )


# Names with built-in URLs.
BY_NAME: dict[str, type[OpenIDProvider]] = {"apple": Apple, "github": GitHub, "google": Google}
BY_ADDRESS = (Entra, Cognito, OAuth2Provider)


def provider_type_of(variables: ProviderVariables) -> OpenIDProvider:
    """Return the type of the provider that these variables configure."""
    if variables.name in BY_NAME:
        return BY_NAME[variables.name](variables)
    found = next((each for each in BY_ADDRESS if each.matches(variables)), OpenIDProvider)
    return found(variables)
