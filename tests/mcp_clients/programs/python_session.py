"""A program with the SDK for Python that keeps one session open: `python_session URL [MODE]`.

Lines of JSON enter, `{"tool": …, "arguments": …}`; for each leaves one with `text` or `error`. For
the tool "" the text is the names of all. It signs in as `gateway_site.local.mcp_client` does.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.auth import OAuthFlowError
from mcp.client.streamable_http import streamable_http_client

from gateway_site.local.mcp_client import TIMEOUT, Callback, Kept, signing_in


async def main(url: str, mode: str = "auto") -> None:
    with Callback() as callback:
        auth = signing_in(url, Kept(url), callback, opens=True)
        async with (
            httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            while line := await asyncio.to_thread(sys.stdin.readline):
                print(json.dumps(await call_tool(client, **json.loads(line))), flush=True)  # noqa: T201


async def call_tool(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, str]:
    try:
        if not tool:
            return {"text": " ".join([name async for name in names(client)])}
        given = await client.call_tool(tool, arguments)
    except (MCPError, OAuthFlowError, httpx2.HTTPError) as error:
        return {"error": str(error) or repr(error)}
    return {"text": "\n".join(getattr(content, "text", "") for content in given.content)}


async def names(client: Client) -> AsyncIterator[str]:
    """Yield the names of the tools on all pages."""
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            yield tool.name
        if (cursor := page.next_cursor) is None:
            return


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
