"""An MCP server with the official SDK, which records its events and its requests.

    python -m tests.gateway_site.support.mcp_server PORT

The recorded requests are at `/_seen`, without the gateway.
"""

import json
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCMessage

seen: list[dict[str, Any]] = []
server = MCPServer("tools")


class Events(EventStore):
    """All events in memory, numbered."""

    def __init__(self) -> None:
        self.events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        last = int(last_event_id)
        stream = self.events[last][0]
        for number, (stream_id, message) in enumerate(self.events):
            if number > last and stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


@server.tool()
async def whoami(ctx: Context[Any, Any]) -> str:
    """Return the token of the request."""
    return str((ctx.headers or {}).get("authorization"))


@server.tool()
async def count(ctx: Context[Any, Any], to: int) -> str:
    """Count, and report each step."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to)
    return f"counted to {to}"


@server.tool()
async def interrupted(ctx: Context[Any, Any]) -> str:
    """Close before the result, which the client then requests with Last-Event-ID."""
    await ctx.close_sse_stream()
    return "resumed"


application = server.streamable_http_app(event_store=Events(), retry_interval=50)


async def serve_observed(scope: Any, receive: Any, send: Any) -> None:
    """Serve, and record each request."""
    if scope["type"] == "http" and scope["path"] == "/_seen":
        body = json.dumps(seen).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    if scope["type"] == "http":
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen.append({"method": scope["method"], "headers": headers})
    await application(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(serve_observed, port=int(sys.argv[1]), log_level="error")
