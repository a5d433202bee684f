"""The start and the graceful stop of a process.

After SIGTERM `/readyz` returns 503, so that the load balancer stops sending requests, and all other
requests are served for `DRAIN_SECONDS`, each on a connection that is closed after it. Then the
server stops (`gateway_site.edge.shutdown`). A second SIGTERM, or Ctrl-C, skips the wait. At SIGHUP
the rules of upstreams are read again. A worker that gets SIGUSR2 before SIGTERM has been replaced:
it does the same, but `/readyz` does not change, since the new worker serves the same port. One
whose parent has ended does not drain (`workers`).

https://asgi.readthedocs.io/en/stable/specs/lifespan.html
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import threading
from functools import partial
from types import FrameType

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gateway_site.audit import trail
from gateway_site.configuration import FileState
from gateway_site.edge.client import ASGIApplication, Receive, Scope, Send
from gateway_site.edge.descriptors import pause_without_descriptors
from gateway_site.edge.http_metrics import gateway
from gateway_site.edge.shutdown import STATE_KEY, Shutdown
from gateway_site.health.dependencies import migrations_probe
from gateway_site.health.readiness import draining, replaced
from gateway_site.policy.in_force import has_rules, reload_rules, warn_of_open_rules
from gateway_site.server import log_queue
from gateway_site.server.exporters import export_rest

logger = logging.getLogger(__name__)

YOUNG = 10_000  # new objects between two collections; a call has about 100


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that handles the start and the end of its process."""

    # A coroutine function: by that, servers recognize an ASGI 3 application.
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope.get("state", {})[STATE_KEY] = Shutdown()
            await _live(receive, send)
        else:
            await application(scope, receive, send)

    return serve


async def _live(receive: Receive, send: Send) -> None:
    """Answer the messages of a process's lifespan."""
    await receive()
    try:
        _start()
    except Exception as error:  # A server would serve without a lifespan.
        if not isinstance(error, ImproperlyConfigured):
            logger.exception("The server cannot start.")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.to_thread(trail.close)
    await asyncio.to_thread(export_rest)
    log_queue.finish()
    await send({"type": "lifespan.shutdown.complete"})


def _start() -> None:
    """Prepare this process."""
    is_main_thread = threading.current_thread() == threading.main_thread()
    if is_main_thread:
        log_queue.start()
    _collect_garbage_less_often()
    pause_without_descriptors(asyncio.get_running_loop())
    if is_main_thread:  # Only there can signals be handled.
        _drain_first(settings.DRAIN_SECONDS)
        _handle_parents_signals()
        _reload_at_hangup()
    warn_of_open_rules()
    trail.start()
    if is_main_thread:
        migrations_probe().latest()  # It logs that the database needs `migrate`; nothing waits.


def _collect_garbage_less_often() -> None:
    """Collect garbage less often, and skip all objects that exist at start-up.

    Each collection blocks all requests. With the default thresholds, the objects of current calls
    would cause many collections.
    """
    gc.collect()
    gc.freeze()
    # A full collection runs when the number of old objects has grown by a quarter since the last
    # one. Without this call, that would be a quarter of all objects at start-up.
    # https://devguide.python.org/internals/garbage-collector/#collecting-the-oldest-generation
    gc.collect()
    young, *older = gc.get_threshold()
    if 0 < young < YOUNG:  # otherwise an operator has set it
        gc.set_threshold(YOUNG, *older)


def _drain_first(seconds: float | None) -> None:
    """Drain before the server's own SIGTERM handler runs."""
    end = signal.getsignal(signal.SIGTERM)
    if not seconds or not callable(end):
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            end(number, frame)  # The next parent waits for the port.
        elif not draining.is_set():
            draining.set()
            loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)
        elif parent is None:
            # Otherwise it is a worker, which systemd signals and then its parent as well.
            end(number, frame)

    signal.signal(signal.SIGTERM, drain)


def _handle_parents_signals() -> None:
    """Note SIGUSR2: it is replaced; count SIGUSR1: it could not be (`workers`)."""
    if multiprocessing.parent_process() is not None:
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGUSR2, lambda *_: replaced.set())
        count = partial(gateway.count, "workers.outdated")
        signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(count))


def _reload_at_hangup() -> None:
    """Read rules again at SIGHUP, which the parent of workers passes on (`workers`).

    In a single process without rules and `GATEWAY_CONFIG` it ends the server, as when its terminal
    is closed.
    """
    is_worker, file = multiprocessing.parent_process() is not None, FileState(os.environ)
    if not (is_worker or has_rules() or file.exists):
        return
    loop, waiting = asyncio.get_running_loop(), [False]

    def work() -> None:
        waiting[0] = False  # what changes from now on needs another signal
        reload_rules()
        if not is_worker and (change := file.find_change()) is not None:
            logger.warning("%s", change)

    def reload(_number: int, _frame: FrameType | None) -> None:
        # The handler may interrupt anything, so that it must not start a thread itself, nor take a
        # lock. Many signals must not occupy all threads, which look up names as well.
        if not waiting[0]:
            waiting[0] = True
            loop.call_soon_threadsafe(loop.run_in_executor, None, work)

    signal.signal(signal.SIGHUP, reload)
