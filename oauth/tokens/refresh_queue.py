"""Queues of one process, so that one thread or task at a time refreshes a grant.

Threads and tasks of event loops take turns, the longest waiting first. A refresh that a task has
begun is finished whatever happens to its caller; a task that is cancelled earlier leaves the queue.

A person may have many grants, in apps and in browsers. Only a few are refreshed at one time:
otherwise a provider that is slow with one account would occupy all threads for it.
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

TASKS_MAX = 1024  # of one process, those that wait included
# Refreshes of one account at a provider, at one time in one process.
ACCOUNT_REFRESHES_MAX = THREADS_PER_PROVIDER // 4


class RefreshBusy(ProviderUnavailable):
    """Others in this process are refreshing, for longer than the caller wants to wait."""

    def __init__(self) -> None:
        super().__init__("Other requests are refreshing the token.")


class RefreshQueues:
    """One turn for each name, kept while somebody waits for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._turns: dict[Hashable, tuple[CoroutineLock, int]] = {}

    def __len__(self) -> int:
        """Return for how many names somebody waits."""
        return len(self._turns)

    @contextmanager
    def of(self, *names: Hashable) -> Iterator[CoroutineLock]:
        """Join the queue for a name.

        Of several names it is the one with the shortest queue.
        """
        with self._lock:
            name = min(names, key=self._wanted)
            turn, wanted = self._turns.get(name) or (CoroutineLock(), 0)
            self._turns[name] = turn, wanted + 1
        try:
            yield turn
        finally:
            self._leave(name)

    def _wanted(self, name: Hashable) -> int:
        return self._turns[name][1] if name in self._turns else 0

    def _leave(self, name: Hashable) -> None:
        with self._lock:
            turn, wanted = self._turns.pop(name)
            if wanted > 1:
                self._turns[name] = turn, wanted - 1


@dataclass
class QueuedRefresh(Wait):
    """Runs work of the same name one at a time in this process.

    ``account`` is the provider and subject: only a few of one account run at one time.
    ``max_wait`` is in seconds, for each turn. Raises RefreshBusy, and whatever the work
    raises.
    """

    name: str = field(repr=False)  # a grant secret
    account: tuple[str, str] = field(repr=False)
    max_wait: float
    work: Callable[[], Coroutine[Any, Any, Any]] = field(repr=False)
    has_begun: bool = field(default=False, init=False)

    def block(self) -> Any:
        """Do the work in this thread."""
        release_sql_connections()  # The turn, the lease and the provider may all take long.
        return run_sync(self._run())

    async def suspend(self) -> Any:
        """Do it in the event loop, to its end once it has begun."""
        return await _refreshes.finish(self._run(), lambda: self.has_begun)

    async def _run(self) -> Any:
        with _grant_queues.of(self.name) as turn:
            await self._wait_for(turn)
            try:
                return await self._run_for_account()
            finally:
                turn.release()

    async def _run_for_account(self) -> Any:
        with _account_queues.of(
            *((*self.account, each) for each in range(ACCOUNT_REFRESHES_MAX))
        ) as turn:
            await self._wait_for(turn)
            self.has_begun = True
            try:
                return await self.work()
            finally:
                turn.release()

    async def _wait_for(self, turn: CoroutineLock) -> None:
        """Wait for a turn, and take it. Raises RefreshBusy."""
        try:
            await turn.acquire(within=self.max_wait)
        except StoreUnavailable:
            raise RefreshBusy from None


def _ignore(_: BaseException) -> None:
    """Leave it at that: whoever refreshes has told of what failed."""


def _replace_queues() -> None:
    global _grant_queues, _account_queues
    _grant_queues, _account_queues = (
        RefreshQueues(),
        RefreshQueues(),
    )  # The parent may have forked while a thread had its turn.


_grant_queues, _account_queues = RefreshQueues(), RefreshQueues()
_refreshes = Finisher(TASKS_MAX, left=_ignore, busy=RefreshBusy)
os.register_at_fork(after_in_child=_replace_queues)
