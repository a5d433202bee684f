"""File descriptors: how many connections fit into a process's limit, and what happens at the limit.

A client's connection may need a second descriptor, for the upstream that it calls. So there are at
most as many connections to upstreams, idle ones included, as from clients.

While no descriptor is left, asyncio calls `accept` as many times as the backlog is long, logs a
traceback for each failure, and schedules a retry for each, a second later. Here one of those
retries takes effect, and one line a minute is logged. uvloop needs none of this: libuv closes such
connections. This relies on private parts of asyncio's selector event loop, the same from Python
3.11 to 3.13; the tests run that loop, and fail if it changes.
"""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sessions_kms.http.descriptors import is_any_left, is_exhaustion

__all__ = ["is_any_left", "is_exhaustion"]

RESERVED = 128  # descriptors for table, keys, database, providers and files
SPARE = 16  # connections above the limit, for health checks only
LEAST, MOST = 16, 16_384  # connections of each kind, whatever the limit of descriptors says
BACKLOG = 64  # connections that are accepted at a time


def descriptor_limit() -> int:
    """Return how many descriptors this process may have; negative means unlimited."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def max_connections(limit: int, backlog: int = BACKLOG) -> int:
    """Return how many connections from clients, and to upstreams, fit into a limit."""
    if limit < 0:
        return MOST
    return min(MOST, max(LEAST, (limit - RESERVED - SPARE - backlog) // 2))


def is_limit_low(limit: int, backlog: int = BACKLOG) -> bool:
    """Return True if not even the minimum number of connections fits."""
    return 0 <= limit < 2 * LEAST + RESERVED + SPARE + backlog


logger = logging.getLogger(__name__)

ACCEPT_FAILED = "socket.accept() out of system resource"  # asyncio's
ACCEPT_WARNING = "Cannot accept connections; retrying once a second: %s. Raise `ulimit -n`."
WARNING_INTERVAL = 60.0  # seconds
PAUSE = 1.0  # seconds, asyncio's own (asyncio.constants.ACCEPT_RETRY_DELAY)
START_SERVING = (
    "_start_serving"  # of the loop: has it accept connections, at first and after a pause
)


def pause_without_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    """Make a loop accept at most once a second again after it could not."""
    start_serving = getattr(loop, START_SERVING, None)
    if start_serving is None:
        return
    setattr(loop, START_SERVING, AcceptRetries(loop, start_serving).start_serving)
    loop.set_exception_handler(AcceptErrorHandler(loop).handle)


class AcceptRetries:
    """Lets one retry per listening socket through, of all that are due at the same time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_serving: Callable[..., None]) -> None:
        self._loop = loop
        self._start_serving = start_serving
        self._started: WeakKeyDictionary[socket.socket, float] = WeakKeyDictionary()

    def start_serving(
        self, protocol_factory: object, listener: socket.socket, *options: object
    ) -> None:
        """Accept connections, unless this was started just now, or the socket is closed."""
        now = self._loop.time()
        is_due = now - self._started.get(listener, float("-inf")) >= PAUSE / 2
        if is_due and listener.fileno() >= 0:
            self._started[listener] = now
            self._start_serving(protocol_factory, listener, *options)


class AcceptErrorHandler:
    """A loop's exception handler that logs a failed `accept` once a minute."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.get_exception_handler() or type(loop).default_exception_handler
        self._logged = float("-inf")

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a failed `accept` at most once a minute; pass on all other errors."""
        if context.get("message") != ACCEPT_FAILED:
            self._handle(loop, context)
        elif loop.time() - self._logged >= WARNING_INTERVAL:
            self._logged = loop.time()
            logger.error(ACCEPT_WARNING, context.get("exception"))
