"""A timer of an event loop that can be moved or cancelled at almost no cost.

A `call_later` for each wait would cost more than most waits, as nearly all end soon. Here one
handle stays scheduled, and checks when it fires whether the timer is due. It runs in a context of
its own, and so outlives the request whose wait it was for without holding it.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context


class Timer:
    """Calls a function once it is due, in its event loop."""

    __slots__ = ("_callback", "_due", "_handle", "_handle_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = callback
        self._due: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._handle_due = 0.0

    def start(self, seconds: float) -> None:
        """Set the timer to ``seconds`` from now; do nothing once it is closed."""
        if self._callback is None:
            return
        self._due = due = self._loop.time() + seconds
        if self._handle is None or due < self._handle_due:
            self._schedule(due)

    def cancel(self) -> None:
        """Cancel the timer; it can be started again."""
        self._due = None

    def close(self) -> None:
        """Cancel it permanently, and release the function."""
        self._due = self._callback = None
        if self._handle is not None:
            self._handle.cancel()

    def _schedule(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(due, self._check, context=Context())
        self._handle_due = due

    def _check(self) -> None:
        self._handle = None
        if self._due is None or self._callback is None:
            return
        if self._loop.time() < self._due:
            self._schedule(self._due)
        else:
            self._due = None
            self._callback()
