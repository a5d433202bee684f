"""What ends a call from outside, while it is under way: its client goes, or its session ends.

A call that is over soon is watched by nobody: to begin and to end two tasks costs more than all
the rest of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

BEGINS_AFTER = 0.25  # seconds, after which a client that has gone is noticed

Watcher = Callable[[], Coroutine[Any, Any, None]]


def watched(*watchers: Watcher) -> Watched:
    """Run a block to its end, or until a watcher raises something; that is raised then."""
    return Watched(watchers)


class Watched:
    """A block that is watched."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers
        self._tasks: set[asyncio.Task[None]] = set()
        self._found: BaseException | None = None

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(BEGINS_AFTER, self._begin)
        self._end = asyncio.timeout(None)
        await self._end.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        self._timer.cancel()
        begun, self._tasks = self._tasks, set()
        for task in begun:
            task.cancel()
        try:
            await self._end.__aexit__(*raised)
        except TimeoutError:
            if self._found is None:
                raise
            raise self._found from None
        finally:
            del raised  # its traceback has this frame: each would keep the other

    def _begin(self) -> None:
        for watcher in self._watchers:
            task = self._loop.create_task(watcher())
            task.add_done_callback(self._note)
            self._tasks.add(task)

    def _note(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks and not task.cancelled():
            self._found = self._found or task.exception()
            self._end.reschedule(self._loop.time())
