"""Threads for blocking work: named pools, work that cannot be interrupted, background jobs.

Work that hangs in one pool does not delay the others. A pool is created on first use and stays. A
forked process has none of its parent's threads, so it starts without pools.
"""

import copy
import os
import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache, partial
from threading import Lock, Thread
from typing import Final, Generic, ParamSpec, TypeVar
from weakref import WeakSet

from asgiref.sync import sync_to_async

from sessions_kms.concurrency.deadline import OutOfTime
from sessions_kms.exceptions import SessionsKMSError

Job = Callable[[], object]
THREADS: Final = 8
_pools: Final[dict[str, ThreadPoolExecutor]] = {}

P = ParamSpec("P")
T = TypeVar("T")


def start_thread(job: Callable[[], None]) -> None:
    """Run a job in a thread that does not keep the process alive. Raises RuntimeError."""
    threading.Thread(target=job, name="sessions_kms-renewal", daemon=True).start()


class Background:
    """Runs background jobs, one at a time; none without a function that starts threads."""

    def __init__(self, start: Callable[[Callable[[], None]], None] | None) -> None:
        self._start = start
        self._busy = threading.Lock()  # acquired by the running job, never waited for

    def run(self, find: Callable[[], Job | None]) -> bool:
        """Start the job that is due, if any, unless one is running.

        Return False if no thread can be started, for example because the process is ending.
        """
        if self._start is None:
            return False
        if not self._busy.acquire(blocking=False):
            return True
        started = False
        try:
            if job := find():
                self._start(lambda: self._do(job))
                started = True
        except RuntimeError:
            return False
        finally:
            if not started:
                self._busy.release()
        return True

    def _do(self, job: Job) -> None:
        try:
            job()
        except SessionsKMSError:
            pass  # It has been logged.
        finally:
            self._busy.release()


class Refused(OSError):
    """All threads are busy."""


class BoundedPool(Generic[T]):
    """Calls in separate threads, which do not keep the process alive.

    Each caller that joins a call in progress gets a future of its own, with a copy of its error: a
    shared one would collect the tracebacks, and with them the local variables, of all callers.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._lock = Lock()
        self._futures: dict[Hashable, WeakSet[Future[T]]] = {}  # of the callers that still wait

    def begin(self, name: Hashable, work: Callable[[], T]) -> Future[T]:
        """Join the call in progress, or start one.

        Raises Refused, or RuntimeError if no thread can be started.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # A waiter that gives up must not cancel it.
        with self._lock:
            if (sharing := self._futures.get(name)) is not None:
                sharing.add(future)
                return future
            if len(self._futures) >= self._threads:
                raise Refused("Too many lookups are running.")
            self._futures[name] = WeakSet([future])
        try:
            thread = Thread(target=self._run, args=(name, work), daemon=True)
            thread.name = "sessions_kms-lookup"
            thread.start()
        except BaseException:
            self._fail(name, Refused("No thread can be started."))
            raise
        return future

    def wait(self, name: Hashable, work: Callable[[], T], within: float | None) -> T:
        """Return the result of the work. Raises OutOfTime, Refused, or the errors of the work."""
        future = self.begin(name, work)
        try:
            return future.result(within)
        except TimeoutError:
            if future.done():  # The work itself raised this TimeoutError.
                raise
        raise OutOfTime

    def busy(self) -> int:
        """Return the number of busy threads."""
        return len(self._futures)

    def _run(self, name: Hashable, work: Callable[[], T]) -> None:
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 - raised in the waiters
            self._fail(name, exc)  # Its traceback contains this frame, which has no futures.
        else:
            for future in self._remove(name):
                future.set_result(result)

    def _fail(self, name: Hashable, error: BaseException) -> None:
        for future in self._remove(name):
            future.set_exception(copy_error(error))

    def _remove(self, name: Hashable) -> list[Future[T]]:
        with self._lock:
            return list(self._futures.pop(name))


def copy_error(error: BaseException) -> BaseException:
    """Return a copy of an error without its traceback, or the error if it cannot be copied."""
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - its class may need other arguments
        return error
    return copied if isinstance(copied, BaseException) else error


def executor(name: str, threads: int) -> ThreadPoolExecutor:
    """Return the pool of this name, with at most ``threads`` threads."""
    # If two are created at once, one is dropped; it has not started a thread yet.
    return _pools.get(name) or _pools.setdefault(
        name, ThreadPoolExecutor(threads, thread_name_prefix=name)
    )


async def in_thread(
    pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do blocking work in a thread of a pool, with this task's context; return its result."""
    __traceback_hide__ = True
    return await _caller_in(pool)(partial(work, *args, **kwargs))


@lru_cache(maxsize=64)  # asgiref inspects a function whenever one is wrapped
def _caller_in(pool: ThreadPoolExecutor) -> Callable[[Callable[[], T]], Awaitable[T]]:
    return sync_to_async(_run_in_context_copy, thread_sensitive=False, executor=pool)


async def in_djangos_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work in the thread in which Django manages the request's database connections."""
    __traceback_hide__ = True
    return await sync_to_async(_run_in_context_copy)(partial(work, *args, **kwargs))


def _run_in_context_copy(work: Callable[[], T]) -> T:
    """Do work in a copy of this context, and copy the changed variables back when it is done.

    asgiref copies the variables of the thread back even if the task is cancelled. In the middle of
    a `deadline.call` that would copy the call's end time, which nothing would reset.
    """
    __traceback_hide__ = True
    before, inside = copy_context(), copy_context()
    try:
        return inside.run(work)
    finally:
        for variable, value in inside.items():
            if variable not in before or before[variable] is not value:
                variable.set(value)


os.register_at_fork(after_in_child=_pools.clear)
