"""A moment at which something is called, which can be moved, or taken away, for next to nothing.

A timer of the event loop for each wait costs more than most waits: nearly all are over soon. Here
one stays, and looks when it is time whether it still is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` once it is time, in its event loop."""

    __slots__ = ("_at", "_loop", "_ring", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring: Callable[[], None] | None = ring
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, seconds: float) -> None:
        """Have it ring in so many seconds, and at no other moment; not any more after its end."""
        if self._ring is None:
            return
        self._at = at = self._loop.time() + seconds
        if self._timer is None or at < self._timer_at:
            self._look_at(at)

    def unset(self) -> None:
        """Have it not ring."""
        self._at = None

    def end(self) -> None:
        """Let go of everything."""
        self._at = self._ring = None
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look)
        self._timer_at = at

    def _look(self) -> None:
        self._timer = None
        if self._at is None or self._ring is None:
            return
        if self._loop.time() < self._at:
            self._look_at(self._at)
        else:
            self._at = None
            self._ring()
