"""What ends a call from outside, while it is under way: its client goes, or its session ends.

A call that is over soon is watched by nobody: to begin and to end two tasks costs more than all
the rest of it. Nor has it a timer of its own, since all calls of an event loop begin to be watched
after the same time: they stand in line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from itertools import takewhile
from types import TracebackType
from typing import Any

BEGINS_AFTER = 0.25  # seconds, after which a client that has gone is noticed

Watcher = Callable[[], Coroutine[Any, Any, None]]


class Watched:
    """A block that is run to its end, or until a watcher raises something; that is raised then."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers: Sequence[Watcher] = watchers
        self._begun: set[asyncio.Task[None]] = set()
        self._found: BaseException | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is for coroutines
        self._call = task
        self._context = copy_context()
        self._cancellations = task.cancelling()
        self._line = _line()
        self._line.enter(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del error, traceback  # The latter has this frame: each would keep the other.
        self._line.leave(self)
        self._end()
        # As `asyncio.timeout` does: who else cancels the call has it cancelled.
        if self._found is None or self._call.uncancel() > self._cancellations:
            return
        if kind is asyncio.CancelledError:
            try:
                raise self._found from None
            finally:
                self._found = None  # Its traceback has this frame, too.

    def begin(self) -> None:
        """Begin to watch."""
        loop = self._call.get_loop()
        for watcher in self._watchers:
            # In the context of the call, not of whichever began the line.
            task = loop.create_task(watcher(), context=self._context.copy())
            task.add_done_callback(self._note)
            self._begun.add(task)

    def _end(self) -> None:
        begun, self._begun = self._begun, set()
        for task in begun:
            task.cancel()

    def _note(self, task: asyncio.Task[None]) -> None:
        if task not in self._begun or task.cancelled() or self._found is not None:
            return
        self._found = task.exception()
        if self._found is not None:
            self._call.cancel()


class _Line:
    """Those that are not watched yet, in the order of their time; there is one timer for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Watched, float] = {}
        self._has_timer = False

    def enter(self, block: Watched) -> None:
        """Have a block watched after a time."""
        self._due[block] = self._loop.time() + BEGINS_AFTER
        if not self._has_timer:
            self._look_later()

    def leave(self, block: Watched) -> None:
        """Have it not watched, if it is not yet."""
        self._due.pop(block, None)

    def _look_later(self) -> None:
        self._has_timer = True
        # In nobody's context: it would be kept for as long as anybody stands here.
        self._loop.call_at(next(iter(self._due.values())), self._look, context=Context())

    def _look(self) -> None:
        self._has_timer = False
        now = self._loop.time()
        for block, _ in list(takewhile(lambda each: each[1] <= now, self._due.items())):
            del self._due[block]
            block.begin()
        if self._due:
            self._look_later()


_lines: dict[asyncio.AbstractEventLoop, _Line] = {}
os.register_at_fork(after_in_child=_lines.clear)  # their loops are the parent's


def _line() -> _Line:
    """Return the running event loop's."""
    loop = asyncio.get_running_loop()
    if loop not in _lines:
        for ended in [each for each in _lines.copy() if each.is_closed()]:
            _lines.pop(ended, None)
        _lines[loop] = _Line(loop)
    return _lines[loop]
