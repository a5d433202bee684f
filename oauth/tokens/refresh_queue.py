"""Who waits for whom inside one process, so that one grant is refreshed by one thread or task.

Threads and tasks of event loops take turns, whoever has waited longest first. What a task has
begun is finished whatever happens to its caller; one that is cancelled before that leaves.

A person may have many grants, in apps and in browsers. A few of them are refreshed at one time:
a provider that is slow with one account would otherwise take all threads that ask it.
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
ACCOUNT_REFRESHES_MAX = (
    THREADS_PER_PROVIDER // 4
)  # refreshes of one account at a provider, at one time in one process


class RefreshBusy(ProviderUnavailable):
    """Somebody else in this process has the turn, for longer than one wants to wait."""

    def __init__(self) -> None:
        super().__init__("Other requests are refreshing the token.")


class RefreshQueues:
    """One turn for each name, as long as somebody wants it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._turns: dict[Hashable, tuple[CoroutineLock, int]] = {}

    def __len__(self) -> int:
        """Return how many names somebody wants."""
        return len(self._turns)

    @contextmanager
    def of(self, *names: Hashable) -> Iterator[CoroutineLock]:
        """Want the turn of a name, which is everybody's who wants it meanwhile.

        Of several names it is the one that the fewest want.
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
    """Work that one at a time does in this process, of all with the same name.

    ``account`` is whose they are, at which provider: a few of one account are done at one time.
    ``patience`` is how many seconds each turn is waited for. Raises Busy, and what the work
    raises.
    """

    name: str = field(repr=False)  # a grant secret
    account: tuple[str, str] = field(repr=False)
    patience: float
    work: Callable[[], Coroutine[Any, Any, Any]] = field(repr=False)
    has_begun: bool = field(default=False, init=False)

    def block(self) -> Any:
        """Do the work in this thread."""
        release_sql_connections()  # The turn, the lease and the provider may all take long.
        return run_sync(self._in_turn())

    async def suspend(self) -> Any:
        """Do it in the event loop, to its end once it has begun."""
        return await _refreshes.finish(self._in_turn(), lambda: self.has_begun)

    async def _in_turn(self) -> Any:
        with _grant_queues.of(self.name) as turn:
            await self._come(turn)
            try:
                return await self._of_account()
            finally:
                turn.release()

    async def _of_account(self) -> Any:
        with _account_queues.of(
            *((*self.account, each) for each in range(ACCOUNT_REFRESHES_MAX))
        ) as turn:
            await self._come(turn)
            self.has_begun = True
            try:
                return await self.work()
            finally:
                turn.release()

    async def _come(self, turn: CoroutineLock) -> None:
        """Wait for a turn, and take it. Raises Busy."""
        try:
            await turn.acquire(within=self.patience)
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
