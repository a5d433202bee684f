"""Single flight: one call serves all who ask for the same thing meanwhile, its failure too.

Takes a key and the work to do, gives the work's result. A failure is remembered
for a short back-off. Knows nothing about what is fetched.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Event, Lock, get_ident
from typing import Final, Generic, NamedTuple, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.elapsed import Moment, Stopwatch
from sessions_kms.exceptions import KMSUnavailable, SessionsKMSError

FAILURES_MAX: Final = 256

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.pilot = get_ident()
        self.landed = Event()
        self.result: T | None = None
        self.error: SessionsKMSError | None = None

    def outcome(self) -> T:
        if self.pilot == get_ident():  # In a log handler, say, that the work has called.
            raise KMSUnavailable
        if not self._lands():
            raise KMSUnavailable
        if self.result is not None:
            return self.result
        # Neither result nor error: the thread that flew died of something else.
        raise copy.copy(self.error) if self.error else KMSUnavailable()

    def _lands(self) -> bool:
        """Wait for the pilot, as long as this request may."""
        try:
            with deadline.waiting() as left:
                return self.landed.wait(left)
        except deadline.OutOfTime:
            return self.landed.is_set()


class _Failure(NamedTuple):
    error: SessionsKMSError
    at: Moment


class Flights(Generic[T]):
    """The calls under way, and the failures of the last ones.

    ``back_off`` says for how many seconds a failure is raised again instead of
    asking anew. Who waits does so as long as the request may. Errors are raised as
    copies: a shared one would gather the tracebacks, and with them the locals, of all.
    """

    def __init__(self, stopwatch: Stopwatch, back_off: Callable[[SessionsKMSError], float]) -> None:
        self._stopwatch = stopwatch
        self._back_off = back_off
        self._lock = Lock()
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._failures: OrderedDict[Hashable, _Failure] = OrderedDict()

    def run(self, key: Hashable, work: Callable[[], T], *, patient: bool = True) -> T:
        """Do the work, or share the outcome of the one who is doing it.

        Who is not patient (having something to fall back on) does not wait for the
        flight of another, but gets the last failure. Raises what
        the work raises, and KMSUnavailable if the thread that did it died, or if it is
        this thread, which would wait for itself.
        """
        ours: _Flight[T] = _Flight()
        # The flight is entered inside this block, so that nothing that ends this
        # thread (KeyboardInterrupt, SystemExit) leaves others waiting for it.
        try:
            flight = self._enter(key, ours, patient)
            if flight is ours:
                ours.result = work()
                return ours.result
        except SessionsKMSError as exc:
            ours.error = copy.copy(exc)
            raise
        finally:
            self._leave(key, ours)
        return flight.outcome()

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
        """Tell whether the last flight failed so recently that nobody asks again."""
        with self._lock:
            return self._is_recent(self._failures.get(key))

    def _enter(self, key: Hashable, ours: _Flight[T], patient: bool) -> _Flight[T]:
        with self._lock:
            flight = self._flights.get(key)
            failure = self._failures.get(key)
            if failure and self._is_recent(failure):
                raise copy.copy(failure.error)
            if flight and not patient:
                raise copy.copy(failure.error) if failure else KMSUnavailable()
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
