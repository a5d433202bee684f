"""Waiting, in code that is written once: ordinary coroutines, run by threads and by event loops.

All that waits is `async def`, down to the leaves, each a `Wait`. In an event loop a leaf suspends
its task. In a thread without one (`run_sync`) the leaf blocks and returns, so that the coroutine
never suspends, and its traceback is that of plain calls. Whether an event loop runs in this
thread is the mode: a flag or a context variable would leak into tasks that are created meanwhile.

Hold no thread lock across an await: other tasks of the same loop would wait for it forever.
Nothing but a leaf and the middlewares awaits asyncio, which threads do not have.
"""

import asyncio
from asyncio import _get_running_loop, current_task
from collections.abc import Callable, Coroutine, Generator
from threading import local
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.executors import executor, in_thread
from sessions_kms.exceptions import StoreUnavailable

CALLS: Final = 32  # blocking calls of one pool at one time, for all event loops of the process

T = TypeVar("T")

_NO_TASK: Final = object()


class _Mode(local):
    """What the loop alone does not tell about this thread."""

    blocking_task: object = _NO_TASK  # the task (None: a callback) that is in `run_sync`
    by_hand = False  # a test's driver gets each wait, and sends its outcome


_mode: Final = _Mode()


class Wait:
    """Something to wait for, the leaf of coroutines: subclasses say how in a thread and in a loop.

    Both methods return the outcome or raise the error.
    """

    __slots__ = ()

    def block(self) -> Any:
        """Wait in this thread."""
        raise NotImplementedError

    async def suspend(self) -> Any:
        """Wait in the event loop, which goes on meanwhile."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait in the way of this thread."""
        __traceback_hide__ = True
        if _mode.by_hand:
            return (yield self)
        if (loop := _get_running_loop()) is None:
            return self.block()
        if _mode.blocking_task is not _NO_TASK and _mode.blocking_task is current_task(loop):
            return self.block()
        return (yield from self.suspend().__await__())


class BlockingCall(Wait):
    """A call that blocks; an event loop has it made in a thread. Its arguments may be secrets.

    ``pool`` names the threads, for calls that may wait for others of their kind.
    """

    __slots__ = ("_pool", "args", "function")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        *,
        pool: str = "sessions_kms-calls",
    ) -> None:
        self.function = function
        self.args = args
        self._pool = pool

    def block(self) -> Any:
        """Make it here."""
        return self.function(*self.args)

    async def suspend(self) -> Any:
        """Make it in a thread of a bounded pool, with this task's context.

        The time until it begins counts against the request's. Raises StoreUnavailable where it
        would begin too late.
        """
        return await in_thread(executor(self._pool, CALLS), self._begin_in_time, monotonic())

    def _begin_in_time(self, asked_at: float) -> Any:
        try:
            deadline.queued(monotonic() - asked_at)
        except deadline.OutOfTime:
            raise StoreUnavailable("Too many wait for the session store.") from None
        return self.block()


class Pause(Wait):
    """A pause of so many seconds; ``sleep`` is how a thread sleeps."""

    __slots__ = ("_sleep", "seconds")

    def __init__(self, seconds: float, sleep: Callable[[float], None] = sleep) -> None:
        self.seconds = seconds
        self._sleep = sleep

    def block(self) -> None:
        """Sleep in this thread."""
        self._sleep(self.seconds)

    async def suspend(self) -> None:
        """Let the event loop go on meanwhile."""
        await asyncio.sleep(self.seconds)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in this thread; return its result, or raise its error.

    It blocks, within an event loop's own thread too. Raises RuntimeError where the coroutine
    awaits something other than a `Wait`.
    """
    __traceback_hide__ = True
    before, loop = _mode.blocking_task, _get_running_loop()
    if loop is not None:
        _mode.blocking_task = current_task(loop)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        _mode.blocking_task = before
    coroutine.close()
    raise RuntimeError("A coroutine that was to block awaits what only an event loop has.")
