"""The server: uvicorn with httptools, and limits on what a client may use and for how long.

`kms-gateway serve --host 0.0.0.0 --port 8000` starts it, as `python -m gateway_site.server` does.
The options below are used by every way to start it.

protocol             one connection: which requests are rejected, and when it is closed
request_syntax       the start of each request, its first line and its head; no I/O
buffered_transport   sends the head of a response together with its body
connections          all connections of a process: how many, and which is closed first
lifespan             the start and the graceful stop of a process
rejections           rejections that also apply under other servers, ASGI and WSGI
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway_site.edge import descriptors

APPLICATION = "gateway_site.asgi:application"
# uvicorn's command line imports the application from here. By default it is the current folder,
# where modules that somebody else left would be imported.
FOLDER = Path(__file__).resolve().parents[2]
# Named as uvicorn.Config does. https://uvicorn.dev/settings/
OPTIONS: dict[str, Any] = {
    "http": "gateway_site.server.protocol:BoundedProtocol",
    "ws": "none",
    "lifespan": "auto",  # `runserver` may serve an application without a lifespan
    "access_log": False,  # gateway_site.edge.access_log writes it
    "proxy_headers": False,  # PROXY_SCHEME_HEADER names the only trusted header
    # asyncio accepts this many at a time before it passes one on: each takes a descriptor.
    "backlog": descriptors.BACKLOG,
}


def arguments() -> Iterator[str]:
    """Yield the options for uvicorn's command line; later options override them."""
    for name, value in OPTIONS.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            yield from (f"--{option}", str(value))
    yield from ("--app-dir", str(FOLDER))


def run(options: Sequence[str], *, program: str) -> None:
    """Serve until the process is asked to end, with options of uvicorn's command line."""
    import uvicorn  # noqa: PLC0415 - the application itself does not need it

    uvicorn.main([APPLICATION, *arguments(), *options], prog_name=program)
