"""GitHub: https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps.

GitHub Enterprise Server is a plain OAuth 2.0 provider (`plain`), with addresses of its own.
"""

from typing import Any

from gateway_site.providers import protection
from gateway_site.providers.kinds.kind import BuiltIn


class GitHub(BuiltIn):
    """No OpenID Connect: allauth's own kind of provider knows its addresses."""

    label = "GitHub"
    allauth_kind = "github"
    origin = "https://github.com"

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for; without any, what is public may be read."""
        return self.variables.words("SCOPES")

    def settings(self) -> dict[str, Any]:
        """Refuse what GitHub does not know."""
        self.variables.refuse(protection.SUFFIXES, "is not for GitHub, which does not know it.")
        return super().settings()
