"""Queues that let only one thread or task of this process refresh a grant at a time.

Threads and tasks are served in the order of their arrival. A refresh that a task has started is
finished whatever happens to its caller; a task that is cancelled earlier leaves the queue.

A person may have many grants, in apps and in browsers. Only a few of them are refreshed at the same
time: otherwise a provider that is slow for one account could occupy all of its threads.
"""

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from oauth.exceptions import ProviderUnavailable
from oauth.network.concurrency import THREADS_PER_PROVIDER, release_sql_connections
from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.finishing import Finisher
from sessions_kms.concurrency.waits import CoroutineLock, Wait, run_sync

TASKS_MAX = 1024  # per process, including the tasks that wait
# Concurrent refreshes per account at a provider and process.
ACCOUNT_REFRESHES_MAX = THREADS_PER_PROVIDER // 4


class RefreshBusy(ProviderUnavailable):
    """Other requests of this process are refreshing for longer than the caller can wait."""

    def __init__(self) -> None:
        super().__init__("Other requests are refreshing the token.")


class RefreshQueues:
    """One lock per name, which exists while a thread or task uses it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._locks: dict[Hashable, tuple[CoroutineLock, int]] = {}

    def __len__(self) -> int:
        """Return the number of names whose lock is in use."""
        return len(self._locks)

    @asynccontextmanager
    async def turn(self, *names: Hashable, max_wait: float) -> AsyncIterator[CoroutineLock]:
        """Wait in the shortest queue of these names, and hold its lock. Raises RefreshBusy."""
        with self._lock:
            name = min(names, key=self._queue_length)
            lock, waiting = self._locks.get(name) or (CoroutineLock(), 0)
            self._locks[name] = lock, waiting + 1
        try:
            try:
                await lock.acquire(within=max_wait)
            except StoreUnavailable:
                raise RefreshBusy from None
            try:
                yield lock
            finally:
                lock.release()
        finally:
            self._leave(name)

    def _queue_length(self, name: Hashable) -> int:
        return self._locks[name][1] if name in self._locks else 0

    def _leave(self, name: Hashable) -> None:
        with self._lock:
            lock, waiting = self._locks.pop(name)
            if waiting > 1:
                self._locks[name] = lock, waiting - 1


@dataclass
class QueuedRefresh(Wait):
    """Runs ``work`` while no other work of the same name runs in this process.

    ``account`` is the provider and subject: only a few refreshes per account run at the same time.
    ``max_wait`` is the timeout of each of the two locks in seconds. Raises RefreshBusy and whatever
    the work raises.
    """

    name: str = field(repr=False)  # a grant secret
    account: tuple[str, str] = field(repr=False)
    max_wait: float
    work: Callable[[], Coroutine[Any, Any, Any]] = field(repr=False)
    has_begun: bool = field(default=False, init=False)

    def block(self) -> Any:
        """Do the work in this thread."""
        release_sql_connections()  # The lock, the lease and the provider may all take long.
        return run_sync(self._run())

    async def suspend(self) -> Any:
        """Do the work in the event loop; once started, it is always finished."""
        return await _refreshes.finish(self._run(), lambda: self.has_begun)

    async def _run(self) -> Any:
        slots = [(*self.account, each) for each in range(ACCOUNT_REFRESHES_MAX)]
        async with (
            _grant_queues.turn(self.name, max_wait=self.max_wait),
            _account_queues.turn(*slots, max_wait=self.max_wait),
        ):
            self.has_begun = True
            return await self.work()


def _ignore(_: BaseException) -> None:
    """Do nothing: the refresh has already logged its failure."""


def _replace_queues() -> None:
    global _grant_queues, _account_queues  # A thread may have held a lock when the parent forked.
    _grant_queues, _account_queues = RefreshQueues(), RefreshQueues()


_grant_queues, _account_queues = RefreshQueues(), RefreshQueues()
_refreshes = Finisher(TASKS_MAX, on_error=_ignore, busy=RefreshBusy)
os.register_at_fork(after_in_child=_replace_queues)
