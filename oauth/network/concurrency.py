"""Limits on what this process uses while it waits for a provider: concurrent calls, threads and
SQL connections.

`ConcurrencyLimit` rejects calls beyond a limit instead of queueing them. Each provider has its own
threads for blocking calls, so that a provider that hangs does not delay the others. `Background`
runs work after the response, in a few daemon threads with a bounded queue; a process that exits
waits at most one second for it. An MCP server has such a queue of its own, since nobody knows how
it behaves. SQL connections are scarce, so they are released before a wait.
"""

import asyncio
import atexit
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Full, Queue
from threading import Lock, Thread
from typing import Any, TypeVar

from django.db import connections

from oauth.exceptions import ProviderBusy
from sessions_kms.concurrency.threads import executor
from sessions_kms.concurrency.waits import Wait

logger = logging.getLogger(__name__)

THREADS_PER_PROVIDER = 16  # for each configured provider

BACKGROUND_THREADS = 8  # some wait half a second for the index (`oauth.tokens.remaining_access`)
QUEUE_MAX = 1000
SERVER_QUEUE_MAX = 200  # of each MCP server
ACCOUNT_SHARE = 4  # one account may fill a quarter of the queue
EXIT_TIMEOUT = 1.0  # seconds

T = TypeVar("T")


class ConcurrencyLimit:
    """Limits the number of concurrent calls for each name."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    @contextmanager
    def slot(self, name: str) -> Iterator[None]:
        """Occupy one slot while the block runs. Raises ProviderBusy if none is free."""
        with self._lock:
            if self._running[name] >= self._maximum:
                raise ProviderBusy("Too many requests to the provider at once.")
            self._running[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[name] -= 1

    def _reset(self) -> None:
        self._lock = Lock()
        self._running: Counter[str] = Counter()


def thread_pool(provider: str) -> ThreadPoolExecutor:
    """Return the provider's thread pool."""
    return executor(f"oauth-refresh-{provider}", THREADS_PER_PROVIDER)


@dataclass(frozen=True)
class FutureResult(Wait):
    """Waits for the result of a thread, at most ``seconds``.

    Raises TimeoutError after that; the thread continues.
    """

    future: Future[Any] = field(repr=False)
    seconds: float

    def block(self) -> Any:
        """Wait in this thread."""
        return self.future.result(self.seconds)

    async def suspend(self) -> Any:
        """Wait in the event loop."""
        wrapped = asyncio.wrap_future(self.future)
        wrapped.add_done_callback(_retrieve_exception)
        await asyncio.wait([wrapped], timeout=self.seconds)
        if not self.future.done():
            raise TimeoutError
        return self.future.result()


def _retrieve_exception(future: asyncio.Future[Any]) -> None:
    """Retrieve the exception: asyncio logs one that is never retrieved, as after a timeout."""
    if not future.cancelled():
        future.exception()


class Background:
    """A bounded pool whose threads never keep the process alive."""

    def __init__(self, threads: int = BACKGROUND_THREADS, waiting: int = QUEUE_MAX) -> None:
        self._queue: Queue[Callable[[], None]] = Queue(waiting)
        self._share = max(1, waiting // ACCOUNT_SHARE)
        self._accounts: Counter[str] = Counter()  # calls of each that are queued or running
        self._counting = Lock()
        self._left_to_start = threads
        self._starting = Lock()

    def submit(self, call: Callable[[], T], account: str | None = None) -> Future[T]:
        """Run a call soon. If the queue is full, its future is cancelled at once.

        ``account`` is the account that causes the call, for example by signing out. One account
        cannot fill the queue.
        """
        future: Future[T] = Future()
        if account is not None:
            future.add_done_callback(lambda _: self._uncount(account))
        try:
            self._count(account)
            self._queue.put_nowait(lambda: _run(call, future))
        except Full:
            future.cancel()
            logger.warning("The background queue is full: a task was dropped.")
        else:
            self._start_thread()
        return future

    def drain(self, seconds: float) -> bool:
        """Wait at most ``seconds`` until all work is done; return False if some is not."""
        done = self._queue.all_tasks_done
        with done:
            return done.wait_for(lambda: self._queue.unfinished_tasks == 0, seconds)

    def _count(self, account: str | None) -> None:
        """Count one more call of an account. Raises Full beyond its share, and still counts it."""
        if account is None:
            return
        with self._counting:
            self._accounts[account] += 1
            if self._accounts[account] > self._share:
                raise Full

    def _uncount(self, account: str) -> None:
        with self._counting:
            self._accounts[account] -= 1
            if not self._accounts[account]:
                del self._accounts[account]

    def _start_thread(self) -> None:
        with self._starting:
            if self._left_to_start == 0:
                return
            self._left_to_start -= 1
        Thread(target=self._work, name="oauth-background", daemon=True).start()

    def _work(self) -> None:
        while True:
            run = self._queue.get()
            try:
                run()
            finally:
                self._queue.task_done()


def run_in_background(call: Callable[[], T], account: str | None = None) -> Future[T]:
    """Run a call soon, in this process's background threads."""
    return _background.submit(call, account)


def run_for_server(server: str, call: Callable[[], T], account: str) -> Future[T]:
    """Run a call soon, in the background threads of one MCP server of the settings."""
    return _servers.setdefault(server, Background(waiting=SERVER_QUEUE_MAX)).submit(call, account)


def drain_background(seconds: float = EXIT_TIMEOUT) -> bool:
    """Wait at most ``seconds`` for the background work; return False if some is not done."""
    ends_at = time.monotonic() + seconds
    queues = [_background, *_servers.values()]
    are_done = [each.drain(max(0.0, ends_at - time.monotonic())) for each in queues]
    return all(are_done)


def _drain_at_exit() -> None:
    if not drain_background():
        logger.warning("The process exits with unfinished background tasks.")


def _run(call: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except Exception as exc:  # noqa: BLE001 - the future raises it
        future.set_exception(exc)
    else:
        future.set_result(result)


def _replace_background() -> None:
    global _background  # noqa: PLW0603 - a forked child has none of the threads
    _background = Background()
    _servers.clear()


_background = Background()
_servers: dict[str, Background] = {}
os.register_at_fork(after_in_child=_replace_background)
atexit.register(_drain_at_exit)


def release_sql_connections() -> None:
    """Close this thread's connections, or return them to the pool if there is one.

    Django opens one again at the next query. A connection inside a transaction stays open.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
