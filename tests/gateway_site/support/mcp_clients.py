"""Clients of the official MCP SDK that call through a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from tests.gateway_site.support.gateways import Gateway

if TYPE_CHECKING:
    from mcp import Client


@asynccontextmanager
async def connected_client(
    gateway: Gateway, mode: str, upstream: str = "tools"
) -> AsyncIterator[Client]:
    """Connect as the documentation tells a client that is no browser.

    The SDK is imported here: it takes more than a second, in each process that collects tests.
    """
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    cookies = {"gateway_sessionid": gateway.keys[0]}
    async with httpx2.AsyncClient(cookies=cookies, timeout=20) as http:
        told = (await http.get(f"{gateway.url}/gateway/")).json()
        http.headers[told["csrf_header"]] = told["csrf_token"]
        http.headers["Origin"] = gateway.url
        transport = streamable_http_client(f"{gateway.url}/gateway/{upstream}", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def text_of(result: Any) -> str:
    return str(result.content[0].text)
