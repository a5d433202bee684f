"""The local MCP server, the upstream `demo`: `python -m gateway_site.local.mcp_server --port P`.

It asks the provider for the person of a call's access token, and returns the person and a digest of
the token, never the token. It does not depend on the gateway and has no sessions, so a client can
continue after a restart. It listens only on 127.0.0.1.
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
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

STEPS_MAX = 60
STEP_SECONDS = 0.5
TIMEOUT = 10  # seconds for the provider's response


PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>MCP server</title></head>'
    "<body><h1>MCP server</h1><p>This address is for apps that speak MCP. The gateway's home page "
    "shows how to connect one.</p></body></html>"
)


class PageForBrowsers:
    """Middleware that answers a browser with a page.

    Browsers accept everything, so the SDK would open an event stream, and the page would load
    without end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_for_mcp = scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/mcp")
        if is_for_mcp and "text/html" in Headers(scope=scope).get("accept", ""):
            await HTMLResponse(PAGE)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


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


def build_application(verifier: UserinfoVerifier, issuer: str, address: str) -> Starlette:
    """Return the server, whose tools show what a gateway does for its clients."""
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

    application = server.streamable_http_app(stateless_http=True)
    application.add_middleware(PageForBrowsers)
    return application


def get_token() -> AccessToken:
    """Return the token of this call."""
    token = get_access_token()
    if token is None:
        raise AssertionError("The SDK accepts no call without a token.")
    return token


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


def compute_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def describe_token(token: str) -> str:
    """Return the issuer of a token, as text, by its format."""
    if token.startswith(("gwa_", "gwr_", "gwc_")):
        return "the gateway's, which must never be sent here"
    return f"the provider's, {'a JWT' if token.count('.') == 2 else 'opaque'}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway_site.local.mcp_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--issuer", required=True, help="the provider's address")
    parser.add_argument("--userinfo", required=True, help="the provider's userinfo path")
    options = parser.parse_args()
    uvicorn.run(
        build_application(
            UserinfoVerifier(options.issuer + options.userinfo),
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
