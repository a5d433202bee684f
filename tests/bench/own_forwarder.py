"""A minimal forwarder with the gateway's own HTTP client.

python -m tests.bench.own_forwarder UPSTREAM
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import django

django.setup(set_prefix=False)

from gateway_site.rules.upstream import read_upstreams  # noqa: E402
from gateway_site.transport import upstream_client  # noqa: E402
from gateway_site.transport.messages import build_request  # noqa: E402
from gateway_site.transport.pool import Owner  # noqa: E402
from tests.bench.uvicorn_server import serve  # noqa: E402

DROPPED = {b"connection", b"transfer-encoding"}
OWNER = Owner("nobody", "nobody")


class OwnForwarder:
    """Forwards requests without a body."""

    def __init__(self, upstream: str) -> None:
        declared = {"UPSTREAM_BENCH_URL": upstream, "UPSTREAM_BENCH_PROVIDER": "corp"}
        self._upstream = read_upstreams(declared)["bench"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        url = self._upstream.origin + scope["raw_path"].decode()
        headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
        request = build_request(self._upstream, scope["method"], url, headers, _nothing())
        answer = await upstream_client.send(OWNER, self._upstream, request)
        try:
            kept = [pair for pair in answer.headers if pair[0] not in DROPPED]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            more = True
            while more:
                piece = await answer.read_piece(60)
                more = not answer.has_ended
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            answer.close()


async def _nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


if __name__ == "__main__":
    serve(OwnForwarder(sys.argv[1]), cookie="", path="")
