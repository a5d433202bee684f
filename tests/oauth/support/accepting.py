"""An MCP server of another process whose issuer accepts a provider's assertions."""

from dataclasses import dataclass
from typing import Any

import requests
from pytest_django import Settings

from oauth.mcp.discovery import Discovered, inspect
from oauth.mcp.servers import find_server
from tests.oauth.support.asserting import JWT_BEARER
from tests.oauth.support.connecting import declare
from tests.oauth.support.id_jag_provider import IdJagProvider

SECONDS = 30
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@dataclass
class AcceptingServer:
    """What the gateway's operator knows of it, and what a program without the gateway can do.

    With ``requires_resource`` an assertion has to name it.
    """

    url: str
    issuer: str
    token_endpoint: str
    client_id: str
    client_secret: str
    provider: IdJagProvider
    requires_resource: bool = False

    def declare(self, settings: Settings, **changes: str) -> None:
        """Declare it as `notes`."""
        variables = {
            "ISSUER": self.issuer,
            "CLIENT_ID": self.client_id,
            "CLIENT_SECRET": self.client_secret,
            "ID_JAG": "corp",
        } | changes
        given = {f"UPSTREAM_NOTES_{name}": value for name, value in variables.items()}
        declare(settings, given, notes=self.url)

    def discover(self) -> Discovered:
        server = find_server("notes")
        assert server is not None
        return inspect(server, ignore_pin=True)

    def assertion(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return what the provider would issue, with other claims."""
        usual = {"aud": self.issuer, "client_id": self.client_id, "resource": self.url}
        return self.provider.assertion(header, **usual | claims)

    def present(
        self, assertion: str, *, secret: str | None = None, **form: str
    ) -> requests.Response:
        """Exchange an assertion as the gateway would."""
        sent = {"grant_type": JWT_BEARER, "assertion": assertion, "resource": self.url}
        sent |= {"client_id": self.client_id} | form
        known = (self.client_id, self.client_secret if secret is None else secret)
        return requests.post(self.token_endpoint, sent, auth=known, timeout=SECONDS)

    def rejects(
        self,
        assertion: str,
        error: str = "invalid_grant",
        *,
        secret: str | None = None,
        **form: str,
    ) -> bool:
        """Return True for an error with this code. FastMCP's status is 401, as MCP's SDK has it."""
        response = self.present(assertion, secret=secret, **form)
        return response.status_code in {400, 401} and response.json()["error"] == error

    def call(self, token: str) -> int:
        """Return the status of a call with an access token."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
        }
        return requests.post(
            self.url, json=INITIALIZE, headers=headers, timeout=SECONDS
        ).status_code
