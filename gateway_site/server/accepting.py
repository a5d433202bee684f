"""Pauses accepting while the process has no descriptor left, and logs that once a minute.

asyncio goes on to call `accept` as many times as the backlog is long, writes a traceback for each
failure, and schedules a retry for each, a second later. Here one of those retries counts, and
nothing is logged but a line a minute. uvloop needs none of this: libuv closes such connections.

Relies on private parts of asyncio's selector event loop, the same from Python 3.11 to 3.13. Its
tests run that loop, and fail where it changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from socket import socket
from typing import Any
from weakref import WeakKeyDictionary

logger = logging.getLogger(__name__)

MESSAGE = "socket.accept() out of system resource"  # asyncio's
LINE = "Cannot accept connections; retrying once a second: %s. Raise `ulimit -n`."
LINE_EVERY = 60.0  # seconds
PAUSE = 1.0  # seconds, asyncio's own (asyncio.constants.ACCEPT_RETRY_DELAY)
METHOD = "_start_serving"  # of the loop: has it accept connections, at first and after a pause


def pause_without_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop accept again once a second, at most, after it could not."""
    start_serving = getattr(loop, METHOD, None)
    if start_serving is None:
        return
    setattr(loop, METHOD, Retries(loop, start_serving).start_serving)
    loop.set_exception_handler(Reports(loop).handle)


class Retries:
    """Lets one retry for each listening socket through, of all that are due at one time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_serving: Callable[..., None]) -> None:
        self._loop = loop
        self._start_serving = start_serving
        self._started: WeakKeyDictionary[socket, float] = WeakKeyDictionary()

    def start_serving(self, protocol_factory: object, listener: socket, *options: object) -> None:
        """Accept connections, unless that was started a moment ago, or the socket is closed."""
        now = self._loop.time()
        is_due = now - self._started.get(listener, float("-inf")) >= PAUSE / 2
        if is_due and listener.fileno() >= 0:
            self._started[listener] = now
            self._start_serving(protocol_factory, listener, *options)


class Reports:
    """A loop's exception handler, which logs a failed `accept` once a minute."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.get_exception_handler() or type(loop).default_exception_handler
        self._logged = float("-inf")

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a failed `accept`, unless that was done in the last minute; pass on all others."""
        if context.get("message") != MESSAGE:
            self._handle(loop, context)
        elif loop.time() - self._logged >= LINE_EVERY:
            self._logged = loop.time()
            logger.error(LINE, context.get("exception"))
