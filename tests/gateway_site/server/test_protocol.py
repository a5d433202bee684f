"""Requests of one connection know nothing of each other: behind a proxy they are of many people."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest

from tests.gateway_site.server.served import answer, serving

CLOSE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
LARGE = 200_000  # bytes of a body, from which on the server reads no more until some are taken
caller: ContextVar[str] = ContextVar("caller", default="nobody")


async def noting(scope: Any, receive: Any, send: Any) -> None:
    """Tell who called as this request's context has it, and note somebody there."""
    before = caller.get()
    caller.set("somebody")
    while (await receive()).get("more_body"):
        pass
    body = before.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("size", [0, LARGE], ids=["sent ahead", "after a large body"])
def test_request_has_nothing_of_the_context_of_the_one_before(size: int) -> None:
    first = CLOSE.replace(b"GET", b"POST").replace(
        b"Connection: close", b"Content-Length: %d" % size
    )
    with serving(noting) as served:
        client = served.connected(first + b"x" * size + CLOSE)
        assert answer(client).count(b"nobody") == 2
