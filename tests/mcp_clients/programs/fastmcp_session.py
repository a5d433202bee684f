"""A program with fastmcp's client that keeps one session open: `fastmcp_session.py URL`.

It reads lines of JSON, `{"tool": …, "arguments": …}`, and answers each with a line that has `text`
or `error`. For the tool "" the text is the names of all. It runs in fastmcp's own environment, so
it imports nothing from this project.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client


async def main(url: str) -> None:
    async with Client(url, auth="oauth") as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await call_tool(client, **json.loads(line))), flush=True)  # noqa: T201


async def call_tool(client: Client[Any], tool: str, arguments: dict[str, Any]) -> dict[str, str]:
    try:
        if not tool:
            return {"text": " ".join(each.name for each in await client.list_tools())}
        given = await client.call_tool(tool, arguments)
    except Exception as error:  # noqa: BLE001 -- reported to the harness
        return {"error": str(error) or repr(error)}
    return {"text": "\n".join(getattr(content, "text", "") for content in given.content)}


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
