"""Entra ID: https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.oauth.support.fake_provider import Response
from tests.providers.stubs.stub import Stub

TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
OTHER_TENANT = "bbbbcccc-1111-dddd-2222-eeee3333ffff"
OID = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"


@dataclass
class Entra(Stub):
    """Signs in people of all tenants under `organizations`, each with the tenant's issuer."""

    name: ClassVar[str] = "entra"
    host: ClassVar[str] = "login.microsoftonline.com"
    base: ClassVar[str] = "/organizations/v2.0"
    # Scopes of an API are known besides.
    # https://learn.microsoft.com/entra/identity-platform/scopes-oidc
    scopes_known: ClassVar[frozenset[str]] = frozenset(
        {"openid", "profile", "email", "offline_access", "api://orders/.default"}
    )
    variables: ClassVar[dict[str, str]] = {
        "ISSUER": "https://login.microsoftonline.com/organizations/v2.0",
        "ALLOWED_TENANTS": TENANT,
    }
    tenant: str = TENANT
    claims: dict[str, Any] = field(default_factory=lambda: {"oid": OID})
    audience_is_graph: bool = True

    def metadata(self) -> dict[str, Any]:
        """https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer."""
        shared = {"issuer": f"https://{self.host}/{{tenantid}}/v2.0"}
        return super().metadata() | shared | self.more_of_metadata

    def fault_of(self, query: dict[str, str]) -> str | None:
        """AADSTS901002: https://learn.microsoft.com/entra/identity-platform/reference-error-codes."""
        return "invalid_request" if "resource" in query else super().fault_of(query)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        if "resource" in form:
            self.refused.append("invalid_request")
            return 400, "application/json", b'{"error": "invalid_request"}'
        return super().token(form, authorization, github=github)

    def note(self, asked: dict[str, str]) -> None:
        """https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference."""
        scopes = set(asked["scope"].split())
        self.gives_refresh_token = "offline_access" in scopes
        self.audience_is_graph = not any(each.startswith("api://") for each in scopes)
        with_profile = {"tid": self.tenant, **self.claims} if "profile" in scopes else {}
        issuer = f"https://{self.host}/{self.tenant}/v2.0"
        self.more_of_id_token = {"iss": issuer, **with_profile}

    def userinfo(self, authorization: str) -> Response:
        """It is Graph's: https://learn.microsoft.com/entra/identity-platform/userinfo."""
        if not self.audience_is_graph:
            return 401, "application/json", b'{"error": {"code": "InvalidAuthenticationToken"}}'
        return super().userinfo(authorization)
