"""The server: uvicorn with httptools, and limits on what a client may use and for how long.

`python -m gateway_site.server --host 0.0.0.0 --port 8000` starts it (`__main__`). The options here
are shared by every way of starting it.

protocol         one connection: what is rejected, when it is closed
request_syntax   where each request begins, its first line and its head, pure
connections      all connections of a process: how many, and which goes first
lifespan         the start and the graceful stop of a process
door             rejections that apply under other servers too, ASGI and WSGI
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway_site.edge import descriptors

APPLICATION = "gateway_site.asgi:application"
# Named as uvicorn.Config does. https://uvicorn.dev/settings/
OPTIONS: dict[str, Any] = {
    "http": "gateway_site.server.protocol:BoundedProtocol",
    "ws": "none",
    "lifespan": "auto",  # `runserver` may serve an application that has none
    "access_log": False,  # gateway_site.edge.access_log writes it
    "proxy_headers": False,  # PROXY_SCHEME_HEADER names the one header that is believed
    # asyncio accepts as many at a time before it hands one over: each takes a descriptor.
    "backlog": descriptors.BACKLOG,
}


def arguments() -> Iterator[str]:
    """Yield the options as uvicorn's command line takes them; one that comes later counts."""
    for name, value in OPTIONS.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            yield from (f"--{option}", str(value))
