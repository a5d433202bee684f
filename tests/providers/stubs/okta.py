"""Okta, a custom authorization server: https://developer.okta.com/docs/reference/api/oidc/."""

from dataclasses import dataclass
from typing import ClassVar

from tests.oauth.support.fake_provider import Response
from tests.providers.stubs.stub import Stub


@dataclass
class Okta(Stub):
    """Takes the client's credentials in one place only; refreshes for `offline_access`."""

    name: ClassVar[str] = "okta"
    host: ClassVar[str] = "example.okta.com"
    base: ClassVar[str] = "/oauth2/default"
    scopes_known: ClassVar[frozenset[str]] = frozenset(
        {"openid", "profile", "email", "offline_access"}
    )
    variables: ClassVar[dict[str, str]] = {
        "ISSUER": "https://example.okta.com/oauth2/default",
        "SCOPES": "openid,profile,email,offline_access",
    }
    auth_method: str = "client_secret_basic"

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        """https://developer.okta.com/docs/api/openapi/okta-oauth/guides/client-auth/."""
        if authorization and {"client_id", "client_secret"} & set(form):
            self.refused.append("invalid_request")
            return 400, "application/json", b'{"error": "invalid_request"}'
        return super().token(form, authorization, github=github)

    def note(self, asked: dict[str, str]) -> None:
        """https://developer.okta.com/docs/guides/refresh-tokens/main/."""
        self.gives_refresh_token = "offline_access" in asked["scope"].split()
