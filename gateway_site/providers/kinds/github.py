"""GitHub: https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps.

GitHub Enterprise Server is a plain OAuth 2.0 provider (`plain`), with addresses of its own.
"""

from typing import Any

from gateway_site.providers.kinds.kind import BuiltIn
from gateway_site.providers.variables import ProviderVariables


class GitHub(BuiltIn):
    """No OpenID Connect: allauth's own kind of provider knows its addresses."""

    label = "GitHub"
    allauth_kind = "github"
    origin = "https://github.com"

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for; without any, what is public may be read."""
        return self.variables.scopes

    def settings(self) -> dict[str, Any]:
        """Refuse what GitHub does not know."""
        self.variables.reject(
            [ProviderVariables.par, ProviderVariables.dpop], "is not supported by GitHub."
        )
        return super().settings()
