"""Auth0: https://auth0.com/docs/api/authentication."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tests.providers.stubs.stub import Stub


@dataclass
class Auth0(Stub):
    """Has an issuer that ends with a slash, and APIs that are named by `audience`."""

    name: ClassVar[str] = "auth0"
    host: ClassVar[str] = "example.eu.auth0.com"
    scopes_known: ClassVar[frozenset[str]] = frozenset(
        {"openid", "profile", "email", "offline_access"}
    )
    variables: ClassVar[dict[str, str]] = {
        "ISSUER": "https://example.eu.auth0.com/",
        "SCOPES": "openid,profile,email,offline_access",
        "AUTH_PARAMS": "audience=https://orders.example.com/",
    }
    known_audience: str = "https://orders.example.com/"

    def metadata(self) -> dict[str, Any]:
        """https://auth0.com/docs/get-started/applications/configure-applications-with-oidc-discovery."""
        return super().metadata() | {"issuer": f"{self.issuer}/"}

    def fault_of(self, query: dict[str, str]) -> str | None:
        """An API that is not there is "Service not found"."""
        audience = query.get("audience", self.known_audience)
        return "access_denied" if audience != self.known_audience else super().fault_of(query)

    def note(self, asked: dict[str, str]) -> None:
        """https://auth0.com/docs/secure/tokens/refresh-tokens/get-refresh-tokens."""
        self.gives_refresh_token = "offline_access" in asked["scope"].split()
        self.more_of_id_token = {"iss": f"{self.issuer}/"}
