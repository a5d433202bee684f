"""Entra ID: https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway_site.providers.kinds.kind import Kind
from gateway_site.providers.variables import ProviderVariables

# https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
HOSTS = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
    }
)
ISSUER = re.compile(r"https://[^/]+/([^/]+)/v2\.0/?")
TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHARED = frozenset({"common", "organizations"})


class Entra(Kind):
    """An OpenID Connect provider with many tenants, whose subjects are of one client each."""

    # A refresh token comes with offline_access only, `oid` and `tid` with profile.
    # https://learn.microsoft.com/entra/identity-platform/scopes-oidc
    default_scopes = ("openid", "profile", "email", "offline_access")

    # `consent` locks out everybody but administrators where user consent is restricted:
    # https://learn.microsoft.com/entra/identity/enterprise-apps/configure-user-consent
    default_client_prompt = "select_account"

    @staticmethod
    def is_meant(variables: ProviderVariables) -> bool:
        """Tell whether the issuer is one of Entra ID's."""
        try:
            return urlsplit(variables.issuer).hostname in HOSTS
        except ValueError:
            return False

    def issuer(self) -> str | None:
        """Return the issuer of a tenant by its id, or one that all tenants share."""
        found = ISSUER.fullmatch(self.variables.issuer)
        if found is None or not (TENANT.fullmatch(found[1]) or found[1] in SHARED):
            raise self.variables.error(
                ProviderVariables.issuer,
                "must be Entra ID's of version 2, such as "
                "https://login.microsoftonline.com/<tenant id>/v2.0: with the tenant's id (small "
                "letters), not its domain; or with common or organizations.",
            )
        return super().issuer()

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for, with what the identity needs."""
        scopes = super().scopes()
        if "profile" not in scopes:
            raise self.variables.error(
                ProviderVariables.scopes, "must include profile: Entra ID's tid and oid."
            )
        return scopes

    def auth_params(self) -> Mapping[str, str]:
        """Refuse `resource`, to which version 2 answers AADSTS901002.

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
        """Return how the token endpoint is shown who asks, in the way that Entra ID documents.

        https://learn.microsoft.com/entra/identity-platform/certificate-credentials
        """
        return {"assertion_audience": "endpoint", **super().client()}

    def settings(self) -> dict[str, Any]:
        """Return the identity, and whose accounts are believed.

        https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
        """
        self.variables.reject(
            [ProviderVariables.id_field], "is built in: tid and oid, at Entra ID."
        )
        return {"identity": ["tid", "oid"], **self._tenants()}

    def _tenants(self) -> dict[str, Any]:
        tenants = sorted({each.lower() for each in self.variables.allowed_tenants})
        is_shared = bool(SHARED & set(self.variables.issuer.split("/")))
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
