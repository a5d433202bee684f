"""GitHub: https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps."""

from gateway_site.providers.kinds.kind import BuiltIn


class GitHub(BuiltIn):
    """No OpenID Connect: allauth's own kind of provider knows its addresses."""

    label = "GitHub"
    allauth_kind = "github"
    default_scopes = ()

    def scopes(self) -> tuple[str, ...]:
        """Return what to ask for; without any, what is public may be read."""
        return self.variables.list("SCOPES")

    def sign_in_origin(self) -> str:
        """Return the origin of allauth's address."""
        return "https://github.com"
