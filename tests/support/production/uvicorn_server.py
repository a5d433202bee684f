"""Runs an ASGI application under uvicorn on a free port, and prints the port with other values."""

import json
import socket
import sys
from collections.abc import Mapping
from typing import Any

import uvicorn


def serve(application: Any, *, options: Mapping[str, Any] | None = None, **told: Any) -> None:
    """Print a line of JSON with the port, then serve, with these options of uvicorn's."""
    # With an explicit protocol: for other sockets asyncio does not disable Nagle's algorithm.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        sys.stdout.write(json.dumps({"port": listener.getsockname()[1], **told}) + "\n")
        sys.stdout.flush()
        config = uvicorn.Config(
            application,
            log_config=None,
            **{
                "access_log": False,
                "lifespan": "off",
                "proxy_headers": False,
                **(options or {}),
                "backlog": 4096,
            },
        )
        uvicorn.Server(config).run(sockets=[listener])
