"""Who waits for whom inside one process, so that one grant is refreshed by one thread.

Threads take turns; tasks of an event loop wait for the one that runs without a
thread of their own, and what has begun is finished whatever happens to the caller.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from oauth.exceptions import ProviderUnavailable
from oauth.network.sql_connections import give_back
from oauth.network.thread_pools import pool
from sessions_kms.concurrency.executors import in_thread
from sessions_kms.concurrency.steps import Steps, run

T = TypeVar("T")


class Busy(ProviderUnavailable):
    """Somebody else in this process has the turn, for longer than one wants to wait."""

    def __init__(self) -> None:
        super().__init__("Other requests are refreshing the token.")


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


@dataclass(frozen=True)
class InTurn:
    """The wait for steps that one at a time does in this process, of all with the same name.

    ``patience`` is how many seconds the turn is waited for. Raises Busy, and what the steps
    raise.
    """

    name: str = field(repr=False)  # a grant secret
    provider: str
    patience: float
    steps: Callable[[], Steps[Any]] = field(repr=False)

    def blocking(self) -> Any:
        """Do the steps in this thread."""
        give_back()  # The turn, the lease and the provider may all take long.
        with _turns.taken(self.name, patience=self.patience):
            return run(self.steps())

    async def looping(self) -> Any:
        """Have them done in a thread, after the task of this event loop that has the turn."""
        if not self.patience and (asyncio.get_running_loop(), self.name) in _underway:
            raise Busy
        return await _after_leader(self)


async def _after_leader(turn: InTurn) -> Any:
    key = (asyncio.get_running_loop(), turn.name)
    if (leader := _underway.get(key)) is not None:
        await asyncio.wait([leader])
    threads = pool(turn.provider, "session")
    task: asyncio.Task[Any] = asyncio.ensure_future(in_thread(threads, turn.blocking))
    if _underway.setdefault(key, task) is task:
        task.add_done_callback(lambda _: _underway.pop(key, None))
    _running.add(task)  # The loop itself holds tasks weakly.
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # Seen: the caller may have been cancelled meanwhile.


def _forget_turns() -> None:
    global _turns  # noqa: PLW0603 - the parent may have forked while a thread had its turn
    _turns = Turns()


_turns = Turns()
_underway: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[Any]] = {}
_running: set[asyncio.Task[Any]] = set()
os.register_at_fork(after_in_child=_forget_turns)
