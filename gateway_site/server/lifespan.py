"""A process that is told to end says so to the load balancer before it refuses connections.

SIGTERM makes `/readyz` answer 503 while everything else is served for `DRAIN_SECONDS`: so long
may a balancer take to notice. A second SIGTERM, or Ctrl-C, ends at once.

https://asgi.readthedocs.io/en/stable/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from types import FrameType

from django.conf import settings

from gateway_site.edge.client import ASGIApplication, Receive, Scope, Send
from gateway_site.edge.descriptors import pause_without_descriptors
from gateway_site.health import draining

YOUNG = 10_000  # objects, some 100 of which a call has, that there may be more of between two looks


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that knows when its process begins and is told to end."""

    async def living(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        await receive()
        _look_seldom_for_garbage()
        pause_without_descriptors(asyncio.get_running_loop())
        _drain_first(settings.DRAIN_SECONDS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return living


def _look_seldom_for_garbage() -> None:
    """Have the collector look more seldom, and at nothing that the process began with.

    Each look holds up all. By itself it takes what the calls under way have for garbage that grows.
    """
    gc.collect()
    gc.freeze()
    # Old objects are only looked at when they have grown by a quarter since the last full look.
    # Without this one, that is a quarter of all that the process began with.
    # https://devguide.python.org/internals/garbage-collector/#collecting-the-oldest-generation
    gc.collect()
    young, *older = gc.get_threshold()
    if 0 < young < YOUNG:  # else somebody has chosen
        gc.set_threshold(YOUNG, *older)


def _drain_first(seconds: float | None) -> None:
    """Put draining before what the server does at SIGTERM; Python lets the main thread only."""
    end = signal.getsignal(signal.SIGTERM)
    if not seconds or not callable(end) or threading.current_thread() != threading.main_thread():
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        if draining.is_set():
            end(number, frame)
        else:
            draining.set()
            loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)

    signal.signal(signal.SIGTERM, drain)
