"""A provider with OAuth 2.0 alone (RFC 6749), whose endpoints the variables name."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.kinds.kind import Kind
from gateway_site.providers.variables import ProviderVariables

NEEDED = (
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


class Plain(Kind):
    """Who signs in is what the userinfo endpoint says; nothing is signed."""

    @staticmethod
    def is_meant(variables: ProviderVariables) -> bool:
        """Tell whether these are the variables of such a provider."""
        return not variables.issuer and any(variables.read(each) for each in NEEDED)

    def issuer(self) -> None:
        """Return none, and name what is missing then."""
        issuer = self.variables.get_name(ProviderVariables.issuer)
        for needed in NEEDED:
            if not self.variables.read(needed):
                names = ", ".join(each.name for each in NEEDED)
                raise self.variables.error(
                    needed, f"is missing: a provider without {issuer} needs {names}."
                )
        self.variables.reject(OPENID_ONLY, f"needs {issuer}.")

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for, if anything."""
        return self.variables.scopes

    def settings(self) -> dict[str, Any]:
        """Return where in the userinfo the identity stands."""
        issuer = self.variables.get_name(ProviderVariables.issuer)
        self.variables.reject([ProviderVariables.allowed_tenants], f"needs {issuer}.")
        return {"identity": [self.variables.id_field]}
