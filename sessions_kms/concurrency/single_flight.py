"""Single flight: one call serves all who ask for the same thing meanwhile, its failure too.

Takes a key and the work to do, a coroutine function, and gives the work's result. Threads and
event loops of the process share their flights. A failure is remembered for a short back-off.
Knows nothing about what is fetched.
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
    """Work under way, which others wait for."""

    def __init__(self) -> None:
        self.result: T | None = None
        self.error: SessionsKMSError | None = None
        self.is_abandoned = False  # the task that flew was cancelled: the work is still to be done
        self.landed = Event()
        self._thread = get_ident()  # that flies, or whose event loop does

    def block(self) -> bool:
        """Wait as long as the request may; False if it has not landed.

        What this thread's own event loop flies cannot land while this thread waits.
        """
        if self._thread != get_ident():
            with suppress(deadline.OutOfTime), deadline.waiting() as left:
                return self.landed.wait(left).block()
        return self.landed.is_set

    async def suspend(self) -> bool:
        """Wait likewise, and let the event loop go on."""
        with suppress(deadline.OutOfTime), deadline.waiting() as left:
            return await self.landed.wait(left).suspend()
        return self.landed.is_set


class _Failure(NamedTuple):
    error: SessionsKMSError
    at: Moment


def never(_: SessionsKMSError) -> float:
    """Have no failure remembered (`back_off`)."""
    return 0


class Flights(Generic[T]):
    """The calls under way, and the failures of the last ones.

    ``back_off`` says for how many seconds a failure is raised again instead of
    asking anew. Who waits does so as long as the request may. Errors are raised as
    copies: a shared one would gather the tracebacks, and with them the locals, of all.
    ``unavailable`` is raised where there is no outcome to share.
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
        self._lock = RLock()  # An abandoned coroutine is closed in the middle of anything.
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._failures: OrderedDict[Hashable, _Failure] = OrderedDict()

    async def fly(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, patient: bool = True
    ) -> T:
        """Do the work, or share the outcome of the one who is doing it.

        Who is not patient (having something to fall back on) does not wait for the
        flight of another, but gets the last failure. Where the task that did it was
        cancelled, the next one does it. Raises what the work raises, and ``unavailable``
        if the thread that did it died, or if this is within the work, which would wait
        for itself.
        """
        while True:
            ours: _Flight[T] = _Flight()
            flight = await self._flown(key, ours, work, patient)
            if flight is not ours and (is_held_here(flight) or not await flight):
                raise self._unavailable
            if not flight.is_abandoned:
                return self._outcome(flight)

    async def _flown(
        self,
        key: Hashable,
        ours: _Flight[T],
        work: Callable[[], Coroutine[Any, Any, T]],
        patient: bool,
    ) -> _Flight[T]:
        """Return the flight of another, or ours once it has landed. Raises what the work raises."""
        # The flight is entered inside this block, so that nothing that ends this
        # thread (KeyboardInterrupt, SystemExit) leaves others waiting for it.
        try:
            flight = self._enter(key, ours, patient)
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
        # Neither result nor error: the thread that flew died of something else.
        raise copy.copy(flight.error) if flight.error else self._unavailable()

    def forget(self, key: Hashable) -> None:
        """Forget a failure: what had failed came by another way."""
        with self._lock:
            self._failures.pop(key, None)

    def last_failure(self, key: Hashable, within: float) -> SessionsKMSError | None:
        """Return how the last flight failed, if it landed less than so many seconds ago."""
        with self._lock:
            failure = self._failures.get(key)
            if failure is None or self._stopwatch.since(failure.at) >= within:
                return None
            return copy.copy(failure.error)

    def resting(self, key: Hashable) -> bool:
        """Return True if the last flight failed so recently that nobody asks again."""
        with self._lock:
            return self._is_recent(self._failures.get(key))

    def _enter(self, key: Hashable, ours: _Flight[T], patient: bool) -> _Flight[T]:
        with self._lock:
            flight = self._flights.get(key)
            failure = self._failures.get(key)
            if failure and self._is_recent(failure):
                raise copy.copy(failure.error)
            if flight and not patient:
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
        ours.landed.set()
