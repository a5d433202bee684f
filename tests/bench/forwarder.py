"""A minimal ASGI application that forwards with httpx2: no session, no rule, no header changed.

python -m tests.bench.forwarder UPSTREAM
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx2

from tests.support.production.uvicorn_server import serve

DROPPED = {b"connection", b"transfer-encoding"}


class Forwarder:
    """Uses httpx2's transport directly, since a client costs more."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        limits = httpx2.Limits(max_connections=4096, max_keepalive_connections=64)
        self._transport = httpx2.AsyncHTTPTransport(limits=limits)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        url = self._upstream + scope["raw_path"].decode()
        request = httpx2.Request(
            scope["method"], url, headers=scope["headers"], stream=_Body(receive)
        )
        response = await self._transport.handle_async_request(request)
        try:
            headers = [pair for pair in response.headers.raw if pair[0].lower() not in DROPPED]
            await send(
                {"type": "http.response.start", "status": response.status_code, "headers": headers}
            )
            async for piece in cast("httpx2.AsyncByteStream", response.stream):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, receive: Any) -> None:
        self._receive = receive

    async def __aiter__(self) -> AsyncIterator[bytes]:
        message = {"more_body": True}
        while message.get("more_body"):
            message = await self._receive()
            yield message.get("body", b"")


if __name__ == "__main__":
    serve(Forwarder(sys.argv[1]), cookie="", path="")
