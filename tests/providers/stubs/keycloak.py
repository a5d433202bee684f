"""Keycloak: https://www.keycloak.org/securing-apps/oidc-layers."""

from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from tests.oauth.support.fake_provider import Response
from tests.providers.stubs.stub import Stub


@dataclass
class Keycloak(Stub):
    """Names itself in its responses (RFC 9207), and says for how long a refresh token lasts."""

    name: ClassVar[str] = "corp"
    host: ClassVar[str] = "sso.example.com"
    base: ClassVar[str] = "/realms/corp"
    scopes_known: ClassVar[frozenset[str]] = frozenset(
        {"openid", "profile", "email", "offline_access", "roles"}
    )
    expires_in: int = 300
    variables: ClassVar[dict[str, str]] = {"ISSUER": "https://sso.example.com/realms/corp"}

    def metadata(self) -> dict[str, Any]:
        more = {
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
        }
        return super().metadata() | more | self.more_of_metadata

    def authorize(self, query: dict[str, str]) -> Response:
        status, location, body = super().authorize(query)
        if status != 302:
            return status, location, body
        more = {"iss": self.issuer, "session_state": "a-session"}
        return status, f"{location}&{urlencode(more)}", body

    def note(self, asked: dict[str, str]) -> None:
        """A refresh token lasts as long as the session there, an offline one for ever."""
        is_offline = "offline_access" in asked["scope"].split()
        self.more_of_token_response = {"refresh_expires_in": 0 if is_offline else 1800}
