"""A provider with OAuth 2.0 alone (RFC 6749), whose endpoints the variables name."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.kinds.kind import Kind
from gateway_site.providers.variables import Variables

NEEDED = ("AUTHORIZATION_URL", "TOKEN_URL", "USERINFO_URL", "ID_FIELD")
OPENID_ONLY = ("JWKS_URL", "SINGLE_LOGOUT", "BACKCHANNEL_LOGOUT")


class Plain(Kind):
    """Who signs in is what the userinfo endpoint says; nothing is signed."""

    @staticmethod
    def is_meant(variables: Variables) -> bool:
        """Tell whether these are the variables of such a provider."""
        return not variables.text("ISSUER") and any(variables.text(each) for each in NEEDED)

    def issuer(self) -> None:
        """Return none, and name what is missing then."""
        for suffix in NEEDED:
            if not self.variables.text(suffix):
                raise self.variables.error(
                    suffix,
                    "is missing: a provider without "
                    f"{self.variables.variable('ISSUER')} has {', '.join(NEEDED)}.",
                )
        self.variables.refuse(OPENID_ONLY, f"needs {self.variables.variable('ISSUER')}.")

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for, if anything."""
        return self.variables.words("SCOPES")

    def settings(self) -> dict[str, Any]:
        """Return where in the userinfo the identity stands."""
        self.variables.refuse(["ALLOWED_TENANTS"], f"needs {self.variables.variable('ISSUER')}.")
        return {"identity": [self.variables.text("ID_FIELD")]}
