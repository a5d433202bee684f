"""Waiting, written once for threads and event loops: waits, events and locks.

All code that waits is `async def`; it ends in leaves, each a `Wait`. In an event loop a leaf
suspends its task. In a thread without one (`run_sync`) the leaf blocks and returns, so the
coroutine never suspends, and its traceback looks like that of plain calls. The mode is whether an
event loop runs in this thread: a flag or a context variable would leak into tasks that are created
in the meantime.

Hold no thread lock across an await: other tasks of the same loop would wait for it forever. Only
leaves and middlewares await asyncio, which does not work in threads.
"""

import asyncio
from asyncio import _get_running_loop, current_task
from collections.abc import Callable, Container, Coroutine, Generator, Sequence
from concurrent import futures
from contextlib import suppress
from contextvars import ContextVar, copy_context
from itertools import takewhile
from threading import Lock, RLock, get_ident, local
from time import monotonic, sleep
from typing import Any, Final, Self, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.threads import executor, in_thread
from sessions_kms.exceptions import StoreUnavailable

CALLS: Final = 32  # concurrent blocking calls of one pool, for all event loops of the process
GATHERED: Final = 8  # coroutines of one `Gather` at a time; in threads, of all of the process
LOADING_ITSELF: Final = "The session is used while it is being loaded."
_NO_TASK: Final = object()

T = TypeVar("T")


class _Mode(local):
    """The state of this thread that the event loop does not show."""

    blocking_task: object = _NO_TASK  # the task (None: a callback) that is in `run_sync`
    by_hand = False  # A test drives the coroutine: it receives each wait and sends its outcome.


_mode: Final = _Mode()


class Wait:
    """A leaf of coroutines; subclasses define how to wait in a thread and in an event loop.

    Both methods return the outcome or raise the error.
    """

    __slots__ = ()

    def block(self) -> Any:
        """Wait in this thread."""
        raise NotImplementedError

    async def suspend(self) -> Any:
        """Wait in the event loop without blocking it."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, Any]:
        """Block or suspend, depending on this thread."""
        __traceback_hide__ = True
        if _mode.by_hand:
            return (yield self)
        if (loop := _get_running_loop()) is None:
            return self.block()
        if _mode.blocking_task is not _NO_TASK and _mode.blocking_task is current_task(loop):
            return self.block()
        return (yield from self.suspend().__await__())


class BlockingCall(Wait):
    """A blocking call; an event loop makes it in a thread. Its arguments may be secrets.

    ``pool`` names the thread pool; calls that may wait for each other need separate pools.
    """

    __slots__ = ("_pool", "args", "function")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        *,
        pool: str = "sessions_kms-calls",
    ) -> None:
        self.function = function
        self.args = args
        self._pool = pool

    def block(self) -> Any:
        """Make the call in this thread."""
        return self.function(*self.args)

    async def suspend(self) -> Any:
        """Make it in a thread of a bounded pool, with this task's context.

        The time until it starts is charged to the request. Raises StoreUnavailable if it would
        start too late.
        """
        return await in_thread(executor(self._pool, CALLS), self._start_in_time, monotonic())

    def _start_in_time(self, queued_at: float) -> Any:
        try:
            deadline.charge_queueing(monotonic() - queued_at)
        except deadline.OutOfTime:
            raise StoreUnavailable("Too many wait for the session store.") from None
        return self.block()


class Pause(Wait):
    """A pause in seconds; ``sleep`` is the function to sleep in a thread."""

    __slots__ = ("_sleep", "seconds")

    def __init__(self, seconds: float, sleep: Callable[[float], None] = sleep) -> None:
        self.seconds = seconds
        self._sleep = sleep

    def block(self) -> None:
        """Sleep in this thread."""
        self._sleep(self.seconds)

    async def suspend(self) -> None:
        """Sleep without blocking the event loop."""
        await asyncio.sleep(self.seconds)


class Gather(Wait):
    """Runs coroutines at the same time; the outcome is the list of their results.

    ``start`` creates the coroutine of an item. After an error, which is raised, no others start.
    They must not wait for each other.
    """

    __slots__ = ("_items", "_start")

    def __init__(self, start: Callable[[T], Coroutine[Any, Any, Any]], items: Sequence[T]) -> None:
        self._start: Callable[[Any], Coroutine[Any, Any, Any]] = start
        self._items = items

    def block(self) -> list[Any]:
        """Run them in threads, each with this thread's context."""
        pool = executor("sessions_kms-gathered", GATHERED)
        runs = [pool.submit(copy_context().run, self._run, item) for item in self._items]
        try:
            return [each.result() for each in runs]
        finally:
            for each in runs:
                each.cancel()

    def _run(self, item: Any) -> Any:
        return run_sync(self._start(item))

    async def suspend(self) -> list[Any]:
        """Run them as tasks."""
        permits = asyncio.Semaphore(GATHERED)

        async def run(item: Any) -> Any:
            async with permits:
                return await self._start(item)

        tasks = [asyncio.create_task(run(item)) for item in self._items]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for each in tasks:
                each.cancel()


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in this thread; return its result, or raise its error.

    It blocks, even in the thread of an event loop. Raises RuntimeError if the coroutine awaits
    something other than a `Wait`.
    """
    __traceback_hide__ = True
    before, loop = _mode.blocking_task, _get_running_loop()
    if loop is not None:
        _mode.blocking_task = current_task(loop)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        _mode.blocking_task = before
    coroutine.close()
    raise RuntimeError("A coroutine without an event loop awaited something other than a Wait.")


class Event:
    """An event that is set once; threads and tasks can set it and wait for it."""

    __slots__ = ("_future", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()  # of the waiter, or of its event loop
        self._future: futures.Future[None] = futures.Future()
        # Marked as running: otherwise cancelling a waiting task would cancel the future.
        self._future.set_running_or_notify_cancel()

    @property
    def is_set(self) -> bool:
        """Return True if it is set."""
        return self._future.done()

    def set(self) -> None:
        """Wake the waiter; setting it again does nothing."""
        with suppress(futures.InvalidStateError):
            self._future.set_result(None)

    def wait(self, seconds: float | None, behind: Container[int] = ()) -> "EventWait":
        """Return the wait for it, with a timeout. The outcome is False after the timeout.

        ``behind`` are the threads that must run before it can be set: none of them blocks.
        """
        return EventWait(self._future, seconds, behind)


class EventWait(Wait):
    """The wait for an event."""

    __slots__ = ("behind", "future", "seconds")

    def __init__(
        self,
        future: "futures.Future[None]",
        seconds: float | None,
        behind: Container[int] = (),
    ) -> None:
        self.future = future
        self.seconds = seconds
        self.behind = behind

    def block(self) -> bool:
        """Wait in this thread, unless it would wait for a task of its own event loop."""
        if get_ident() not in self.behind:
            futures.wait([self.future], self.seconds)
        return self.future.done()

    async def suspend(self) -> bool:
        """Wait in the event loop."""
        with suppress(TimeoutError):
            # Not `asyncio.wait`: it leaves a callback that may later wake a closed loop.
            async with asyncio.timeout(self.seconds):
                await asyncio.wrap_future(self.future)
        return self.future.done()


# The objects held by this thread or task, and by the threads that work for it.
_held: ContextVar[tuple[object, ...]] = ContextVar("sessions_kms_held", default=())


def is_held_here(thing: object) -> bool:
    """Return True if this thread or task holds the object, so that it would wait for itself.

    Comparing threads is not enough: all tasks of a loop share one, and a task works in several.
    """
    for each in _held.get():  # noqa: SIM110 - faster, and every load calls this
        if each is thing:
            return True
    return False


def mark_held(thing: object) -> None:
    """Note that this thread or task holds an object, until `unmark_held`."""
    _held.set((*_held.get(), thing))


def unmark_held(thing: object) -> None:
    """Note that it no longer does."""
    # Without a token: an abandoned coroutine may be closed in another context.
    held = _held.get()
    is_last = bool(held) and held[-1] is thing
    _held.set(held[:-1] if is_last else tuple(each for each in held if each is not thing))


class CoroutineLock:
    """A fair lock for coroutines, which blocks no thread while it is held.

    Acquiring it again in the same thread or task raises an error. Log handlers and signal receivers
    run while the lock is held: one that reads `request.user` would wait for itself. So does
    `run_sync` in an event loop, if another task of that loop has the lock or will get it.
    """

    __slots__ = ("_holder", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = RLock()  # An abandoned coroutine may be closed at any point.
        self._holder: int | None = None  # the thread that holds it, or whose event loop does
        self._waiting: list[Event] = []  # smaller than a deque; each session has a lock

    @property
    def is_locked(self) -> bool:
        """Return True if it is held."""
        return self._holder is not None

    def acquire_nowait(self) -> bool:
        """Acquire the lock if it is free, as is usual; return False if it is not."""
        with self._lock:
            if self._holder is not None:
                return False
            self._holder = get_ident()
        mark_held(self)
        return True

    async def acquire(self, within: float | None = None) -> None:
        """Wait for the lock, at most ``within`` seconds or as long as the request may.

        Raises StoreUnavailable, also if this thread or task already holds it.
        """
        if is_held_here(self):
            raise StoreUnavailable(LOADING_ITSELF)
        if (woken := self._acquire_or_queue()) is not None:
            acquired = False
            try:
                acquired = await _wait_for(woken, within, self._threads_before(woken))
            finally:
                if not acquired:
                    self._leave(woken)
            if not acquired:
                raise StoreUnavailable
        mark_held(self)

    def release(self) -> None:
        """Pass the lock to the longest waiter, or free it."""
        unmark_held(self)
        with self._lock:
            if self._waiting:
                self._holder = self._waiting[0].thread
                self._waiting.pop(0).set()
            else:
                self._holder = None

    def _acquire_or_queue(self) -> Event | None:
        """Acquire a free lock; otherwise queue, and return the event to wait for."""
        with self._lock:
            if self._holder is None:
                self._holder = get_ident()
                return None
            self._waiting.append(woken := Event())
            return woken

    def _threads_before(self, woken: Event) -> Container[int]:
        """Return the threads of the holder and of the longer waiters."""
        with self._lock:
            before = takewhile(lambda each: each is not woken, self._waiting)
            return [self._holder or 0, *(each.thread for each in before)]

    def _leave(self, woken: Event) -> None:
        """Leave the queue; if the lock was received already, pass it on."""
        with self._lock:
            if woken in self._waiting:
                self._waiting.remove(woken)
                return
        self.release()


async def _wait_for(woken: Event, within: float | None, behind: Container[int]) -> bool:
    """Wait for the event; return False on timeout. Without a limit, charge the request's budget."""
    if within is not None:
        is_set: bool = await woken.wait(within, behind)
        return is_set
    is_set = False
    with suppress(deadline.OutOfTime), deadline.waiting() as remaining:
        is_set = await woken.wait(remaining, behind)
    return is_set


class ErrorCheckingLock:
    """A `threading.Lock` that raises StoreUnavailable if its holder enters it again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder: int | None = None

    def __enter__(self) -> Self:
        """Wait for other threads, as long as the request may.

        Raises StoreUnavailable.
        """
        if self._holder == get_ident():
            raise StoreUnavailable(LOADING_ITSELF)
        if not deadline.acquire(self._lock):
            raise StoreUnavailable
        self._holder = get_ident()
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self._holder = None
        self._lock.release()
