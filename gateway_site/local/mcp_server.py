"""The local MCP server, the upstream `demo`: `python -m gateway_site.local.mcp_server --port P`.

Calls enter with an access token, which the provider is asked about; what leaves is who it stands
for and a digest of it, never the token. Knows nothing of the gateway, and keeps no sessions, so a
client goes on after a restart. Listens on 127.0.0.1 and nowhere else.
"""

import argparse
import hashlib
from collections import deque
from typing import Any

import anyio
import httpx2
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, MCPServer
from pydantic import AnyHttpUrl
from starlette.applications import Starlette

STEPS_MAX = 60
STEP = 0.5  # seconds
PATIENCE = 10  # seconds for the provider's answer


class Provider:
    """Says whom a token stands for: nobody, where it is told to refuse it."""

    def __init__(self, userinfo: str) -> None:
        self.userinfo = userinfo
        self.refused: deque[str] = deque(maxlen=100)  # digests of tokens

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return who calls; None, which the SDK makes a 401 of, where the provider knows nobody."""
        if digest(token) in self.refused:
            return None
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            try:
                answer = await http.get(self.userinfo, headers=headers)
            except httpx2.LocalProtocolError:  # no token has such characters
                return None
        if answer.status_code != httpx2.codes.OK:
            return None
        claims = answer.json()
        return AccessToken(
            token=token, client_id="gateway", scopes=[], subject=str(claims["sub"]), claims=claims
        )


def application(provider: Provider, issuer: str, address: str) -> Starlette:
    """Return the server, whose tools show what a gateway does for its clients."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(issuer),
        resource_server_url=AnyHttpUrl(address),
        validate_token_resource=False,  # the provider's tokens name no resource
    )
    server = MCPServer("demo", token_verifier=provider, auth=auth, log_level="WARNING")

    @server.tool()
    async def whoami() -> dict[str, Any]:
        """Tell who calls, and what of their token can be told."""
        return caller(presented())

    @server.tool()
    async def count(ctx: Context[Any, Any], to: int = 5) -> str:
        """Count to a number, 60 at most, and report each step."""
        steps = min(to, STEPS_MAX)
        for number in range(1, steps + 1):
            await ctx.report_progress(number, steps, f"{number} of {steps}")
            await anyio.sleep(STEP)
        return f"Counted to {steps}."

    @server.tool()
    async def refuse() -> str:
        """Answer the token that came with 401 from now on, as if the provider had revoked it."""
        provider.refused.append(digest(presented().token))
        return "This token is refused now. The gateway gets another, once this one is 30 s old."

    return server.streamable_http_app(stateless_http=True)


def presented() -> AccessToken:
    """Return the token of this call."""
    token = get_access_token()
    if token is None:
        raise AssertionError("The SDK lets nobody in without a token.")
    return token


def caller(token: AccessToken) -> dict[str, Any]:
    """Return what may be told: that is not the token."""
    claims = token.claims or {}
    return {
        "subject": token.subject,
        "name": claims.get("name"),
        "email": claims.get("email"),
        "token": kind(token.token),
        "sha256": digest(token.token)[:12],
    }


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def kind(token: str) -> str:
    """Return whose a token is, by how it looks."""
    if token.startswith(("gwa_", "gwr_", "gwc_")):
        return "the gateway's, which must never get here"
    return f"the provider's, {'a JWT' if token.count('.') == 2 else 'opaque'}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway_site.local.mcp_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--issuer", required=True, help="the provider's address")
    parser.add_argument("--userinfo", required=True, help="the path there that knows a token")
    options = parser.parse_args()
    uvicorn.run(
        application(
            Provider(options.issuer + options.userinfo),
            options.issuer,
            f"http://127.0.0.1:{options.port}/mcp",
        ),
        host="127.0.0.1",
        port=options.port,
        access_log=False,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
