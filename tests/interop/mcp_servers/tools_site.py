"""An MCP server with the SDK for Python of either line: `tools_site.py OPTIONS` (JSON).

Its tools come on two pages, and each responses with its name. `port` is where it listens; `isJSON`
whether it answers in JSON or in events. The first line of the SDK speaks 2025-11-25, with sessions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from starlette.applications import Starlette
from starlette.routing import Route

IS_FIRST_LINE = not hasattr(Server, "streamable_http_app")
SCHEMA = "inputSchema" if IS_FIRST_LINE else "input_schema"
CURSOR = "nextCursor" if IS_FIRST_LINE else "next_cursor"
PAGES = (("whoami", "export"), ("search_open", "search_private", "search_rare"))

options: dict[str, Any] = json.loads(sys.argv[1])


def page(cursor: str | None) -> types.ListToolsResult:
    number = int(cursor or 0)
    schema: dict[str, Any] = {SCHEMA: {"type": "object"}}
    tools = [types.Tool(name=name, description=f"Says {name}.", **schema) for name in PAGES[number]]
    following: dict[str, Any] = {CURSOR: "1"} if number == 0 else {}
    return types.ListToolsResult(tools=tools, **following)


def make_text(name: str) -> types.TextContent:
    told = {"tool": name, "name": "Ada Lovelace", "token": "the provider's", "sha256": "0" * 12}
    return types.TextContent(type="text", text=json.dumps(told))


def first_line() -> Starlette:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    server: Any = Server("tools")

    @server.list_tools()
    async def list_tools(request: types.ListToolsRequest) -> types.ListToolsResult:
        # The SDK asks for the tools itself before the first call, without a request.
        params = getattr(request, "params", None)
        return page(params.cursor if params else None)

    @server.call_tool(validate_input=False)
    async def call_tool(name: str, _arguments: dict[str, Any]) -> list[types.TextContent]:
        return [make_text(name)]

    manager = StreamableHTTPSessionManager(server, json_response=options["isJSON"])

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    class Endpoint:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await manager.handle_request(scope, receive, send)

    return Starlette(routes=[Route("/mcp", Endpoint())], lifespan=lifespan)


def second_line() -> Starlette:
    async def list_tools(
        _: Any, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return page(params.cursor if params else None)

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[make_text(params.name)])

    server: Server[Any] = Server("tools", on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app(json_response=options["isJSON"])


application = first_line() if IS_FIRST_LINE else second_line()
uvicorn.run(application, host="127.0.0.1", port=options["port"], log_level="info")
