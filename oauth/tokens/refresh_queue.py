"""Queues that let only one thread or task of this process refresh a grant at a time.

Threads and tasks are served in the order of their arrival. A refresh that a task has started is
finished whatever happens to its caller; a task that is cancelled earlier leaves the queue.

A person may have many grants, in apps and in browsers. Only a few of them are refreshed at the same
time: otherwise a provider that is slow for one account could occupy all of its threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
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

    @contextmanager
    def of(self, *names: Hashable) -> Iterator[CoroutineLock]:
        """Join the queue of the name that has the shortest one."""
        with self._lock:
            name = min(names, key=self._queue_length)
            lock, waiting = self._locks.get(name) or (CoroutineLock(), 0)
            self._locks[name] = lock, waiting + 1
        try:
            yield lock
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
        with _grant_queues.of(self.name) as lock:
            await self._wait_for(lock)
            try:
                return await self._run_for_account()
            finally:
                lock.release()

    async def _run_for_account(self) -> Any:
        with _account_queues.of(
            *((*self.account, each) for each in range(ACCOUNT_REFRESHES_MAX))
        ) as lock:
            await self._wait_for(lock)
            self.has_begun = True
            try:
                return await self.work()
            finally:
                lock.release()

    async def _wait_for(self, lock: CoroutineLock) -> None:
        """Acquire the lock. Raises RefreshBusy."""
        try:
            await lock.acquire(within=self.max_wait)
        except StoreUnavailable:
            raise RefreshBusy from None


def _ignore(_: BaseException) -> None:
    """Do nothing: the refresh has already logged its failure."""


def _replace_queues() -> None:
    global _grant_queues, _account_queues
    _grant_queues, _account_queues = (
        RefreshQueues(),
        RefreshQueues(),
    )  # A thread may have held a lock when the parent forked.


_grant_queues, _account_queues = RefreshQueues(), RefreshQueues()
_refreshes = Finisher(TASKS_MAX, on_error=_ignore, busy=RefreshBusy)
os.register_at_fork(after_in_child=_replace_queues)
