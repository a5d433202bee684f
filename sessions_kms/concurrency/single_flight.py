"""Single flight: one call serves all concurrent requests for the same key, even if it fails.

Takes a key and a coroutine function, and returns its result. The threads and event loops of the
process share the calls in progress. A failure is remembered for a short back-off.
"""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from threading import RLock, get_ident
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Moment, Stopwatch
from sessions_kms.concurrency.waits import Event, Wait, is_held_here, mark_held, unmark_held
from sessions_kms.exceptions import SessionsKMSError, StoreUnavailable

FAILURES_MAX: Final = 256

T = TypeVar("T")


class _Flight(Wait, Generic[T]):
    """A call in progress, which others wait for."""

    def __init__(self) -> None:
        self.result: T | None = None
        self.error: SessionsKMSError | None = None
        self.is_abandoned = False  # its task was cancelled: the work still has to be done
        self.finished = Event()
        self._thread = get_ident()  # that does the work, or whose event loop does

    def block(self) -> bool:
        """Wait as long as the request may; return False if the call has not finished.

        A call of this thread's own event loop cannot finish while this thread waits.
        """
        with suppress(deadline.OutOfTime), deadline.waiting() as left:
            return self.finished.wait(left, behind=(self._thread,)).block()
        return self.finished.is_set

    async def suspend(self) -> bool:
        """Wait in the same way, without blocking the event loop."""
        with suppress(deadline.OutOfTime), deadline.waiting() as left:
            return await self.finished.wait(left).suspend()
        return self.finished.is_set


class _Failure(NamedTuple):
    error: SessionsKMSError
    at: Moment


def never(_: SessionsKMSError) -> float:
    """Remember no failure (a value for ``back_off``)."""
    return 0


class Flights(Generic[T]):
    """The calls in progress, and the failures of the last ones.

    ``back_off`` returns the seconds for which a failure is raised again instead of a new call.
    Callers wait as long as their request may. Errors are raised as copies: a shared error would
    collect the tracebacks of all callers, and with them their local variables. ``unavailable`` is
    raised if there is no outcome to share.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        *,
        unavailable: type[StoreUnavailable],
        back_off: Callable[[SessionsKMSError], float] = never,
    ) -> None:
        self._stopwatch = stopwatch
        self._unavailable = unavailable
        self._back_off = back_off
        self._lock = RLock()  # An abandoned coroutine may be closed at any point.
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._failures: OrderedDict[Hashable, _Failure] = OrderedDict()

    async def run(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, waits: bool = True
    ) -> T:
        """Do the work, or share the outcome of a call in progress.

        With ``waits=False``, for callers with a fallback, the last failure is raised instead of
        waiting for another call. If the task that did the work was cancelled, the next one does
        it. Raises the errors of the work, and ``unavailable`` if the thread that did it died, or if
        the work calls this for its own key, which would wait for itself.
        """
        while True:
            ours: _Flight[T] = _Flight()
            flight = await self._run_or_find(key, ours, work, waits)
            if flight is not ours and (is_held_here(flight) or not await flight):
                raise self._unavailable
            if not flight.is_abandoned:
                return self._outcome(flight)

    async def _run_or_find(
        self,
        key: Hashable,
        ours: _Flight[T],
        work: Callable[[], Coroutine[Any, Any, T]],
        waits: bool,
    ) -> _Flight[T]:
        """Return a call in progress, or ours once it has finished. Raises the work's errors."""
        # Registered inside this block: an exception that ends this thread (KeyboardInterrupt,
        # SystemExit) must not leave others waiting for it.
        try:
            flight = self._enter(key, ours, waits)
            if flight is ours:
                mark_held(ours)
                ours.result = await work()
        except SessionsKMSError as exc:
            ours.error = copy.copy(exc)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            ours.is_abandoned = True
            raise
        finally:
            unmark_held(ours)
            self._leave(key, ours)
        return flight

    def _outcome(self, flight: _Flight[T]) -> T:
        if flight.result is not None:
            return flight.result
        # Neither result nor error: the thread ended by another exception.
        raise copy.copy(flight.error) if flight.error else self._unavailable()

    def forget(self, key: Hashable) -> None:
        """Forget a failure: the result was obtained in another way."""
        with self._lock:
            self._failures.pop(key, None)

    def last_failure(self, key: Hashable, within: float) -> SessionsKMSError | None:
        """Return the failure of the last call, if it was less than ``within`` seconds ago."""
        with self._lock:
            failure = self._failures.get(key)
            if failure is None or self._stopwatch.since(failure.at) >= within:
                return None
            return copy.copy(failure.error)

    def is_backing_off(self, key: Hashable) -> bool:
        """Return True if the last call failed so recently that no new one is made."""
        with self._lock:
            return self._is_recent(self._failures.get(key))

    def _enter(self, key: Hashable, ours: _Flight[T], waits: bool) -> _Flight[T]:
        with self._lock:
            flight = self._flights.get(key)
            failure = self._failures.get(key)
            if failure and self._is_recent(failure):
                raise copy.copy(failure.error)
            if flight and not waits:
                raise copy.copy(failure.error) if failure else self._unavailable()
            return flight or self._flights.setdefault(key, ours)

    def _is_recent(self, failure: _Failure | None) -> bool:
        if failure is None:
            return False
        return self._stopwatch.since(failure.at) < self._back_off(failure.error)

    def _leave(self, key: Hashable, ours: _Flight[T]) -> None:
        with self._lock:
            if self._flights.get(key) is ours:
                del self._flights[key]
                self._failures.pop(key, None)
                if ours.error is not None:
                    self._failures[key] = _Failure(ours.error, self._stopwatch.now())
                    if len(self._failures) > FAILURES_MAX:
                        self._failures.popitem(last=False)
        ours.finished.set()
