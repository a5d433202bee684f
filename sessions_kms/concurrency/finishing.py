"""Work that an event loop finishes even if its caller is cancelled.

Takes a coroutine, and returns its result or raises its error. Each coroutine runs in its own task.
The tasks are referenced here, because a loop has only weak references to them, and their number is
limited. Only the end of the loop or of the process ends a task earlier.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")


def _at_once() -> bool:
    return True


_finishers: "WeakSet[Finisher]" = WeakSet()


class Finisher:
    """Finishes at most ``maximum`` coroutines at a time, and raises ``busy()`` beyond that.

    ``on_error`` is called with the error of work that failed after its caller was cancelled.
    """

    def __init__(
        self,
        maximum: int,
        *,
        on_error: Callable[[BaseException], object],
        busy: Callable[[], Exception],
    ) -> None:
        self._maximum = maximum
        self._on_error = on_error
        self._busy = busy
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last_loop: asyncio.AbstractEventLoop | None = None
        _finishers.add(self)

    def __len__(self) -> int:
        """Return the number of running tasks."""
        return len(self._tasks)

    async def finish(
        self, work: Coroutine[Any, Any, T], has_begun: Callable[[], bool] = _at_once
    ) -> T:
        """Do the work; return its result or raise its error.

        If the caller is cancelled before the work ``has_begun``, the work is cancelled too.
        """
        __traceback_hide__ = True
        self._drop_tasks_of_closed_loops()
        if len(self._tasks) >= self._maximum:
            work.close()
            raise self._busy()
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait([task])  # Cancelling the caller here does not cancel the task.
        except asyncio.CancelledError:
            task.add_done_callback(self._report)
            if not has_begun():
                task.cancel()
            raise
        try:
            return task.result()
        finally:
            del task  # Break the cycle: the traceback of its error refers to this frame.

    def forget(self) -> None:
        """Drop the tasks of the parent in a forked child, where they never run."""
        self._tasks.clear()

    def _drop_tasks_of_closed_loops(self) -> None:
        """Drop the tasks of a loop that was closed without ending them.

        Otherwise they would keep their resources, such as the lead of a write queue. It only looks
        when the running loop has changed.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._last_loop:
            self._last_loop = loop
            for each in list(self._tasks):  # A copy: loops of other threads add tasks.
                if each.get_loop().is_closed():
                    self._tasks.discard(each)

    def _report(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)


def _forget_after_fork() -> None:
    for each in list(_finishers):
        each.forget()


os.register_at_fork(after_in_child=_forget_after_fork)
