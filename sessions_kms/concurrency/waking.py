"""Waiting until another one says so, be either of them in a thread or in an event loop.

Knows nothing of what is waited for.
"""

import asyncio
from concurrent import futures
from contextlib import suppress
from contextvars import ContextVar

from sessions_kms.concurrency.waits import Wait

# What is held from here: by this thread or task, and by the threads that work for it.
_held: ContextVar[tuple[object, ...]] = ContextVar("sessions_kms_held", default=())


def is_held_here(thing: object) -> bool:
    """Tell whether whoever asks would wait for itself: it holds the thing, or works for who does.

    The thread does not tell: all tasks of an event loop have one, and one task works in several.
    """
    for each in _held.get():  # noqa: SIM110 - each load comes here, and nearly none finds one
        if each is thing:
            return True
    return False


def hold(thing: object) -> None:
    """Note that a thing is held from here, until `let_go`."""
    _held.set((*_held.get(), thing))


def let_go(thing: object) -> None:
    """Note that it is not."""
    # Not by a token: an abandoned coroutine is closed in whatever context is there.
    held = _held.get()
    is_last = bool(held) and held[-1] is thing
    _held.set(held[:-1] if is_last else tuple(each for each in held if each is not thing))


class Wakeup:
    """Something that one waits for, once; whoever wakes it need not know from where."""

    __slots__ = ("_woken",)

    def __init__(self) -> None:
        self._woken: futures.Future[None] = futures.Future()
        # As running: else a task that is cancelled would cancel what it waits for.
        self._woken.set_running_or_notify_cancel()

    @property
    def is_woken(self) -> bool:
        """Tell whether somebody has."""
        return self._woken.done()

    def wake(self) -> None:
        """Have whoever waits go on; again it does nothing."""
        with suppress(futures.InvalidStateError):
            self._woken.set_result(None)

    def within(self, seconds: float | None) -> "Waking":
        """Return the wait for it, of so many seconds at most. Its outcome is whether it came."""
        return Waking(self._woken, seconds)


class Waking(Wait):
    """The wait for a wake-up."""

    __slots__ = ("seconds", "woken")

    def __init__(self, woken: "futures.Future[None]", seconds: float | None) -> None:
        self.woken = woken
        self.seconds = seconds

    def block(self) -> bool:
        """Wait in this thread."""
        futures.wait([self.woken], self.seconds)
        return self.woken.done()

    async def suspend(self) -> bool:
        """Wait in the event loop."""
        with suppress(TimeoutError):
            # Not `asyncio.wait`, which leaves behind what would yet wake a loop that is closed.
            async with asyncio.timeout(self.seconds):
                await asyncio.wrap_future(self.woken)
        return self.woken.done()
