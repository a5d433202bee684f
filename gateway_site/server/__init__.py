"""The server: uvicorn with httptools, and limits on what a client may use and for how long.

`kms-gateway serve --host 0.0.0.0 --port 8000` starts it, as `python -m gateway_site.server` does.
`OPTIONS` are used by every way to start it, the timeouts by these two.

protocol             one connection: which requests are rejected, and when it is closed
request_syntax       the start of each request, its first line and its head; no I/O
buffered_transport   sends the head of a response together with its body
connections          all connections of a process: how many, and which is closed first
start_checks         what stops a server before it starts
lifespan             the start and the graceful stop of a process
workers              several processes and their parent: what SIGHUP does, how they end
log_queue            what a process logs, written by a thread
rejections           rejections that also apply under other ASGI servers
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway_site.edge import descriptors
from gateway_site.environment.gateway_variables import GatewayVariables
from gateway_site.environment.variable import Configuration
from gateway_site.server.exporters import check_workers

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

KEEP_ALIVE = 5  # seconds for which an idle connection is kept
# A load balancer must be the one to close it, or it may send a request on a connection that is just
# being closed. An Application Load Balancer keeps it for 60 s.
PROXY_KEEP_ALIVE = 75
GRACE = 25  # seconds in which open requests may finish once the port is closed


def default_timeouts(environment: Mapping[str, str]) -> dict[str, int]:
    """Return timeouts for when neither uvicorn's options nor its own variables set them."""
    is_behind_proxy = bool(GatewayVariables(environment).trusted_proxies)
    return {
        "timeout_keep_alive": PROXY_KEEP_ALIVE if is_behind_proxy else KEEP_ALIVE,
        "timeout_graceful_shutdown": GRACE,
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


def logs_json() -> bool:
    """Return True if the configuration chooses JSON for the log; the settings check the value."""
    return _read_configuration().get("LOG_FORMAT", "").strip() == "json"


def _read_configuration() -> Configuration:
    """Return the variables as far as they can be used; the settings report what cannot."""
    from gateway_site import configuration  # noqa: PLC0415 - it imports much

    return configuration.read(os.environ)[0]


@contextmanager
def reporting_failed_start() -> Iterator[None]:
    """Where the log is JSON, log what prevents the start in one line, and exit."""
    try:
        yield
    except Exception as error:
        if not logs_json():
            raise
        from gateway_site.edge import json_log  # noqa: PLC0415 - it may be what fails

        json_log.log_failed_start(error)
        sys.exit(1)


def run(options: Sequence[str], *, program: str) -> None:
    """Serve until the process is asked to end, with options of uvicorn's command line.

    Raises ImproperlyConfigured.
    """
    import uvicorn  # noqa: PLC0415 - the application itself does not need it

    from gateway_site.server import (  # noqa: PLC0415 - they import much
        log_queue,
        start_checks,
        workers,
    )

    log_queue.start()
    workers.use_for_server()
    if logs_json():
        from gateway_site.edge import json_log  # noqa: PLC0415 - it imports much of Django

        json_log.use_for_server(uvicorn.config.LOGGING_CONFIG)
    with reporting_failed_start():
        check_workers(os.environ, options)
        if not {"--help", "--version"} & set(options):
            start_checks.require_port(os.environ, options)
        for each in uvicorn.main.params:
            if each.name == "app":
                each.metavar = ""  # In the usage: it is ours, not the operator's.
        uvicorn.main(
            [APPLICATION, *arguments(), *options],
            prog_name=program,
            default_map=default_timeouts(_read_configuration()),
        )
