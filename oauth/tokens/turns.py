"""Who waits for whom inside one process, so that one grant is refreshed by one thread.

Threads take turns; tasks of an event loop wait for the one that runs without a
thread of their own, and what has begun is finished whatever happens to the caller.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

THREADS = 16  # of each pool; there is one for each configured provider
T = TypeVar("T")


class Busy(Exception):
    """Another thread has its turn, for longer than one wants to wait."""


class Turns:
    """One lock for each name, as long as somebody wants it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._locks: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def taken(self, name: str, *, patience: float) -> Iterator[None]:
        """Wait for the turn, so many seconds at most. Raises Busy."""
        lock = self._enter(name)
        try:
            if not lock.acquire(timeout=patience):
                raise Busy
            try:
                yield
            finally:
                lock.release()
        finally:
            self._leave(name)

    def _enter(self, name: str) -> Lock:
        with self._lock:
            lock, wanted = self._locks.get(name) or (Lock(), 0)
            self._locks[name] = lock, wanted + 1
            return lock

    def _leave(self, name: str) -> None:
        with self._lock:
            lock, wanted = self._locks.pop(name)
            if wanted > 1:
                self._locks[name] = lock, wanted - 1


def is_underway(name: str) -> bool:
    """Tell whether a task of this event loop has its turn."""
    return (asyncio.get_running_loop(), name) in _underway


async def in_thread(pool: str, work: Callable[[], T]) -> T:
    """Run blocking work in a thread of a pool: what hangs holds up nobody outside of it."""
    return await sync_to_async(work, thread_sensitive=False, executor=_executor(pool))()


async def in_turn(name: str, pool: str, work: Callable[[], T]) -> T:
    """Run blocking work in a thread, after the task of this loop that has the turn, if any."""
    key = (asyncio.get_running_loop(), name)
    if (leader := _underway.get(key)) is not None:
        await asyncio.wait([leader])
    task: asyncio.Task[T] = asyncio.ensure_future(in_thread(pool, work))
    if _underway.setdefault(key, task) is task:
        task.add_done_callback(lambda _: _underway.pop(key, None))
    _running.add(task)  # The loop itself holds tasks weakly.
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # Seen: the caller may have been cancelled meanwhile.


@cache
def _executor(pool: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"oauth-{pool}")


_underway: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[Any]] = {}
_running: set[asyncio.Task[Any]] = set()
os.register_at_fork(after_in_child=_executor.cache_clear)
