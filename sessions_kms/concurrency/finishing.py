"""Work that an event loop does to its end, even if whoever asked for it is cancelled meanwhile.

Takes a coroutine, and returns its result or raises its error. Each has its own task, which is
held here, because a loop holds its tasks weakly; their number is bounded. Only the end of the
loop ends one earlier, as the death of the process would.
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
    """Finishes ``most`` at a time in this process, and raises ``busy`` where there are more.

    ``left`` is told the error of work that failed after its caller had been cancelled.
    """

    def __init__(
        self,
        most: int,
        *,
        left: Callable[[BaseException], object],
        busy: Callable[[], Exception],
    ) -> None:
        self._most = most
        self._left = left
        self._busy = busy
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last_loop: asyncio.AbstractEventLoop | None = None
        _finishers.add(self)

    def __len__(self) -> int:
        """Return how much is under way."""
        return len(self._tasks)

    async def finish(
        self, work: Coroutine[Any, Any, T], has_begun: Callable[[], bool] = _at_once
    ) -> T:
        """Do the work; return its result or raise its error, to a caller who is still there.

        A caller who is cancelled before it ``has_begun`` ends it.
        """
        __traceback_hide__ = True
        self._look_at_loop()
        if len(self._tasks) >= self._most:
            work.close()
            raise self._busy()
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait([task])  # Whoever is cancelled here leaves the task alone.
        except asyncio.CancelledError:
            task.add_done_callback(self._tell)
            if not has_begun():
                task.cancel()
            raise
        try:
            return task.result()
        finally:
            del task  # The traceback of its error has this frame: each would keep the other.

    def forget(self) -> None:
        """Let go of the parent's, in a forked child: they never run here."""
        self._tasks.clear()

    def _look_at_loop(self) -> None:
        """Let go of what a loop left behind that was closed without ending its tasks.

        Held, it would hold all that it has taken, the turn to write a session, say.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._last_loop:
            self._last_loop = loop
            for each in list(self._tasks):  # A copy: another thread's loop adds its own.
                if each.get_loop().is_closed():
                    self._tasks.discard(each)

    def _tell(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._left(error)


def _forked() -> None:
    for each in list(_finishers):
        each.forget()


os.register_at_fork(after_in_child=_forked)
