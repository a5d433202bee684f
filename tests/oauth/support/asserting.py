"""A provider that vouches for people, and an MCP server whose issuer accepts its assertions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from pytest_django import Settings

from tests.oauth.support.connecting import declare
from tests.oauth.support.fake_provider import CLIENT_ID, Response
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.mcp_server import AuthorizationServer, McpResource, serving_mcp

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AT_NOTES = "gateway-at-notes"  # the gateway's client id at the server


@dataclass
class AssertionServer(AuthorizationServer):
    """Accepts each assertion of its provider once; people may also connect with a code."""

    provider: IdJagProvider = field(default_factory=IdJagProvider)
    used: set[str] = field(default_factory=set)
    error: str | None = None  # the response to assertions
    checks_resource: bool = True  # whether an assertion has to name it

    def metadata(self) -> dict[str, Any]:
        profiles = ["urn:ietf:params:oauth:grant-profile:id-jag"]
        announced = {"authorization_grant_profiles_supported": profiles}
        return super().metadata() | announced | self.more_of_metadata

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        if form.get("grant_type") != JWT_BEARER:
            return super().token(form, authorization, github=github)
        self.forms.append(form)
        if form.get("client_id") not in self.clients:
            return 401, "application/json", b'{"error": "invalid_client"}'
        why = self.error or self._find_fault(form)
        if why is not None:
            return 400, "application/json", b'{"error": "%s"}' % why.encode()
        return super(AuthorizationServer, self).token(
            form | {"grant_type": "refresh_token"}, authorization
        )

    def _authenticated(self, form: dict[str, str], authorization: str) -> bool:
        return "assertion" in form or super()._authenticated(form, authorization)

    def _may_refresh(self, form: dict[str, str]) -> bool:
        return "assertion" in form or super()._may_refresh(form)

    def _find_fault(self, form: dict[str, str]) -> str | None:
        try:
            token = jwt.decode(form["assertion"], self.provider.key)
        except (JoseError, ValueError):
            return "invalid_grant"
        claims, now = token.claims, self.provider.clock()
        is_right = (
            token.header["typ"] == "oauth-id-jag+jwt"
            and claims["iss"] == self.provider.issuer
            and claims["aud"] in (self.issuer, [self.issuer])
            and claims["client_id"] == form.get("client_id")
            and claims["exp"] > now
            and claims["jti"] not in self.used
            and (claims.get("resource") == form.get("resource") or not self.checks_resource)
        )
        self.used.add(claims["jti"])
        return None if is_right else "invalid_grant"


@contextmanager
def serving_asserted(provider: IdJagProvider) -> Iterator[McpResource]:
    """Serve an MCP server whose issuer trusts a provider; both have the same origin."""
    provider.client_names[CLIENT_ID] = AT_NOTES
    with serving_mcp() as resource:
        server = AssertionServer(
            issuer=resource.issuer, request=resource.request, provider=provider
        )
        server.clients[AT_NOTES] = {
            "redirect_uris": ["http://testserver/accounts/connect/notes/callback/"]
        }
        resource.authorization = server
        yield resource


def declare_asserted(settings: Settings, resource: McpResource, **more: str) -> None:
    """Declare the MCP server as `notes`, whose people `corp` vouches for."""
    variables = {
        "ISSUER": resource.authorization.issuer,
        "CLIENT_ID": AT_NOTES,
        "ID_JAG": "corp",
    } | more
    given = {f"UPSTREAM_NOTES_{name}": value for name, value in variables.items() if value}
    declare(settings, given, notes=resource.url)
