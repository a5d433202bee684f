"""How the server is started: what `python -m gateway_site.server` and `runserver` share."""

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
