"""The upstream `demo`, whose tools show what a gateway does for its clients.

It asks the provider for the person of a call's access token, and returns the person and a digest of
the token, never the token. It does not depend on the gateway.
"""

from collections import deque
from typing import Any

import anyio
import httpx2
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, MCPServer
from pydantic import AnyHttpUrl
from starlette.applications import Starlette

from gateway_site.local.mcp_servers.application import build_application, compute_digest, get_token

STEPS_MAX = 60
STEP_SECONDS = 0.5
TIMEOUT = 10  # seconds for the provider's response


class UserinfoVerifier:
    """Asks the provider for a token's person; rejects tokens that were passed to `refuse`."""

    def __init__(self, userinfo: str) -> None:
        self.userinfo = userinfo
        self.refused: deque[str] = deque(maxlen=100)  # digests of tokens

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the token's owner, or None, which becomes a 401."""
        if compute_digest(token) in self.refused:
            return None
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
            try:
                response = await http.get(self.userinfo, headers=headers)
            except httpx2.LocalProtocolError:  # characters that no token contains
                return None
        if response.status_code != httpx2.codes.OK:
            return None
        claims = response.json()
        return AccessToken(
            token=token, client_id="gateway", scopes=[], subject=str(claims["sub"]), claims=claims
        )


def build_site(verifier: UserinfoVerifier, issuer: str, address: str) -> Starlette:
    """Return the whole site."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(issuer),
        resource_server_url=AnyHttpUrl(address),
        validate_token_resource=False,  # the provider's tokens have no resource
    )
    server = MCPServer("demo", token_verifier=verifier, auth=auth, log_level="WARNING")

    @server.tool()
    async def whoami() -> dict[str, Any]:
        """Return the caller, and safe information about their token."""
        return describe_caller(get_token())

    @server.tool()
    async def count(ctx: Context[Any, Any], to: int = 5) -> str:
        """Count to a number, at most 60, and report each step."""
        steps = min(to, STEPS_MAX)
        for number in range(1, steps + 1):
            await ctx.report_progress(number, steps, f"{number} of {steps}")
            await anyio.sleep(STEP_SECONDS)
        return f"Counted to {steps}."

    @server.tool()
    async def refuse() -> str:
        """Answer 401 to this call's token from now on, as if the provider had revoked it."""
        verifier.refused.append(compute_digest(get_token().token))
        return "This token is now refused. The gateway gets a new one once it is 30 s old."

    return build_application(server)


def describe_caller(token: AccessToken) -> dict[str, Any]:
    """Return information about the caller that is safe to show: never the token."""
    claims = token.claims or {}
    return {
        "subject": token.subject,
        "name": claims.get("name"),
        "email": claims.get("email"),
        "token": describe_token(token.token),
        "sha256": compute_digest(token.token)[:12],
    }


def describe_token(token: str) -> str:
    """Return the issuer of a token, as text, by its format."""
    if token.startswith(("gwa_", "gwr_", "gwc_")):
        return "the gateway's, which must never be sent here"
    return f"the provider's, {'a JWT' if token.count('.') == 2 else 'opaque'}"
