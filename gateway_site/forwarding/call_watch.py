"""What ends a call from outside, while it is under way: its client goes, or its session ends.

A call that is over soon is watched by nobody: to begin and to end two tasks costs more than all
the rest of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

BEGINS_AFTER = 0.25  # seconds, after which a client that has gone is noticed

Watcher = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def watched(*watchers: Watcher) -> AsyncIterator[None]:
    """Run a block to its end, or until a watcher raises something; that is raised then."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    found: list[BaseException | None] = []

    def begin() -> None:
        for watcher in watchers:
            task = loop.create_task(watcher())
            task.add_done_callback(note)
            tasks.add(task)

    def note(task: asyncio.Task[None]) -> None:
        if task in tasks and not task.cancelled():
            found.append(task.exception())
            end.reschedule(loop.time())

    timer = loop.call_later(BEGINS_AFTER, begin)
    try:
        async with asyncio.timeout(None) as end:
            try:
                yield
            finally:
                timer.cancel()
                begun = tasks.copy()
                tasks.clear()
                for task in begun:
                    task.cancel()
    except TimeoutError:
        if not found or found[0] is None:
            raise
        raise found[0] from None
