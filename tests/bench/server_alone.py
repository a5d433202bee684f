"""A minimal ASGI application, under plain uvicorn or as the gateway starts it.

python -m tests.bench.server_alone SERVER LOOP
"""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings

from gateway_site.server import OPTIONS
from tests.support.production.uvicorn_server import serve

PLAIN, OURS = "plain", "ours"
HEADERS = [(b"content-length", b"2")]


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"ok"})


def main(server: str, loop: str) -> None:
    settings.configure(TRUSTED_PROXIES=())
    options = OPTIONS if server == OURS else {"http": "httptools", "ws": "none"}
    serve(application, options={**options, "lifespan": "off", "loop": loop}, path="", cookie="")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
