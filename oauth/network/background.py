"""Work for after the answer: a few daemon threads and a bounded queue.

A call enters, nothing leaves but a `Future`. A process that ends waits a second for
what is still to be done, and not longer: none of it may hold up a restart.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from queue import Full, Queue
from threading import Lock, Thread
from typing import TypeVar

logger = logging.getLogger(__name__)

THREADS = 4
WAITING_MAX = 1000
SHARE = 4  # a quarter of what waits may be caused by one account
AT_EXIT = 1.0  # seconds

T = TypeVar("T")


class Background:
    """A bounded pool whose threads never keep the process alive."""

    def __init__(self, threads: int = THREADS, waiting: int = WAITING_MAX) -> None:
        self._queue: Queue[Callable[[], None]] = Queue(waiting)
        self._share = max(1, waiting // SHARE)
        self._accounts: Counter[str] = Counter()  # what each has waiting or under way
        self._counting = Lock()
        self._left_to_start = threads
        self._starting = Lock()

    def submit(self, call: Callable[[], T], account: str | None = None) -> Future[T]:
        """Run a call soon. Its future is cancelled at once when too much is waiting.

        ``account`` is whose sign-outs, say, cause it: one that causes many leaves room to others.
        """
        future: Future[T] = Future()
        if account is not None:
            future.add_done_callback(lambda _: self._uncount(account))
        try:
            self._count(account)
            self._queue.put_nowait(lambda: _run(call, future))
        except Full:
            future.cancel()
            logger.warning("Too much waits to be done in the background: something was dropped.")
        else:
            self._start_thread()
        return future

    def drain(self, seconds: float) -> bool:
        """Wait until nothing is left to do, at most so long; False when something is."""
        done = self._queue.all_tasks_done
        with done:
            return done.wait_for(lambda: self._queue.unfinished_tasks == 0, seconds)

    def _count(self, account: str | None) -> None:
        """Count one more of an account. Raises Full, and then counts it all the same."""
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


def submit(call: Callable[[], T], account: str | None = None) -> Future[T]:
    """Run a call soon, in this process's background."""
    return _background.submit(call, account)


def drain(seconds: float = AT_EXIT) -> bool:
    """Wait for this process's background, at most so long; False when something is left."""
    return _background.drain(seconds)


def _finish() -> None:
    if not drain():
        logger.warning("The process ends with something left to be done in the background.")


def _run(call: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except Exception as exc:  # noqa: BLE001 - whoever holds the future is told
        future.set_exception(exc)
    else:
        future.set_result(result)


def _start_afresh() -> None:
    global _background  # noqa: PLW0603 - a forked child has none of the threads
    _background = Background()


_background = Background()
os.register_at_fork(after_in_child=_start_afresh)
atexit.register(_finish)
