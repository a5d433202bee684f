"""What both servers have: their ASGI application, a page for browsers, and the token of a call."""

import hashlib
from collections.abc import Sequence
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

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


def build_application(server: MCPServer[Any], routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application of a server, with more routes before its own.

    It has no sessions, so a client can continue after a restart.
    """
    application = server.streamable_http_app(stateless_http=True)
    application.router.routes[:0] = routes  # the first that matches answers
    application.add_middleware(PageForBrowsers)
    return application


def get_token() -> AccessToken:
    """Return the token of this call."""
    token = get_access_token()
    if token is None:
        raise AssertionError("The SDK accepts no call without a token.")
    return token


def compute_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
