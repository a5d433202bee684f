"""GitHub Enterprise Server: https://docs.github.com/enterprise-server@latest/apps/oauth-apps."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.oauth.support.fake_provider import Response
from tests.providers.stubs.stub import Stub

URL = "https://github.example.com"


@dataclass
class GitHubEnterprise(Stub):
    """No OpenID Connect: responses are forms, ids are numbers, errors come with status 200."""

    name: ClassVar[str] = "ghe"
    host: ClassVar[str] = "github.example.com"
    scopes_known: ClassVar[frozenset[str]] = frozenset({"read:user", "user:email"})
    variables: ClassVar[dict[str, str]] = {
        "NAME": "GitHub Enterprise",
        "AUTHORIZATION_URL": f"{URL}/login/oauth/authorize",
        "TOKEN_URL": f"{URL}/login/oauth/access_token",
        "USERINFO_URL": f"{URL}/api/v3/user",
        "ID_FIELD": "id",
        "SCOPES": "read:user",
    }
    scope: str | None = "read:user"
    expires_in: Any = None
    gives_refresh_token: bool = False
    person: dict[str, Any] = field(
        default_factory=lambda: {"id": 77, "login": "ada", "email": None, "name": "Ada Lovelace"}
    )

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        """https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors."""
        status, kind, body = super().token(form, authorization, github=True)
        if status == 200:
            return status, kind, body
        return 200, "application/x-www-form-urlencoded", b"error=bad_verification_code"

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        return self.userinfo(authorization) if path == "/api/v3/user" else (404, "text/plain", b"")
