"""Amazon Cognito: https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tests.oauth.support.fake_provider import Response
from tests.providers.stubs.stub import Stub

POOL = "/eu-central-1_EXAMPLE"


@dataclass
class Cognito(Stub):
    """Has its endpoints at another host than its issuer, and booleans as text."""

    name: ClassVar[str] = "cognito"
    host: ClassVar[str] = "cognito-idp.eu-central-1.amazonaws.com"
    more_hosts: ClassVar[tuple[str, ...]] = ("example.auth.eu-central-1.amazoncognito.com",)
    base: ClassVar[str] = POOL
    # https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
    scopes_known: ClassVar[frozenset[str]] = frozenset(
        {"openid", "profile", "email", "phone", "aws.cognito.signin.user.admin"}
    )
    variables: ClassVar[dict[str, str]] = {
        "ISSUER": f"https://cognito-idp.eu-central-1.amazonaws.com{POOL}",
        "FORM_ACTION": "https://example.auth.eu-central-1.amazoncognito.com",
    }
    rotates: bool = False
    auth_method: str = "client_secret_basic"

    def metadata(self) -> dict[str, Any]:
        """https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html."""
        pages = f"https://{self.more_hosts[0]}/oauth2"
        return super().metadata() | {
            "authorization_endpoint": f"{pages}/authorize",
            "token_endpoint": f"{pages}/token",
            "userinfo_endpoint": f"{pages}/userInfo",
        }

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        own = {"/oauth2/authorize": "/authorize", "/oauth2/token": "/token"}
        own |= {"/oauth2/userInfo": "/userinfo"}
        path = self.base + own[path] if path in own else path
        return super().respond(path, parameters, authorization)

    def userinfo(self, authorization: str) -> Response:
        """https://docs.aws.amazon.com/cognito/latest/developerguide/userinfo-endpoint.html."""
        self.more_of_userinfo = {"email_verified": "true", "username": "ada"}
        return super().userinfo(authorization)
