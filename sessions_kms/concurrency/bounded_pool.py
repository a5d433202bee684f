"""Blocking work that nothing can interrupt, such as asking a name server, in few threads.

A name of the work and the work enter, its result leaves, or `OutOfTime` when it takes
longer than the caller has. At most so many threads are busy; one that hangs on is counted,
and when all of them do, new work is refused at once. One flight for each name, however
many ask.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Final, Generic, TypeVar

from sessions_kms.concurrency.deadline import OutOfTime

THREADS: Final = 8

T = TypeVar("T")


class Refused(OSError):
    """All threads are busy."""


class BoundedPool(Generic[T]):
    """Flights in threads of their own, which do not keep the process alive."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._lock = Lock()
        self._flights: dict[Hashable, Future[T]] = {}

    def begin(self, name: Hashable, work: Callable[[], T]) -> Future[T]:
        """Return the flight under way, or begin one. Raises Refused, or RuntimeError
        where no thread can be started.
        """
        with self._lock:
            if (flight := self._flights.get(name)) is not None:
                return flight
            if len(self._flights) >= self._threads:
                raise Refused("Too much is being looked up.")
            flight = self._flights[name] = Future()
        flight.set_running_or_notify_cancel()  # Who gives up ends nobody's flight.
        try:
            fly = Thread(target=self._fly, args=(name, work, flight), daemon=True)
            fly.name = "sessions_kms-lookup"
            fly.start()
        except BaseException:
            self._land(name)
            flight.set_exception(Refused("No thread can be started."))
            raise
        return flight

    def wait(self, name: Hashable, work: Callable[[], T], within: float | None) -> T:
        """Return the result of the work. Raises OutOfTime, Refused, or what the work raises."""
        flight = self.begin(name, work)
        try:
            return flight.result(within)
        except TimeoutError:
            if flight.done():  # The work's own time-out.
                raise
        raise OutOfTime

    def busy(self) -> int:
        """Return how many threads are busy."""
        return len(self._flights)

    def _fly(self, name: Hashable, work: Callable[[], T], flight: "Future[T]") -> None:
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 - whoever waits is told
            self._land(name)
            flight.set_exception(exc)
        else:
            self._land(name)
            flight.set_result(result)

    def _land(self, name: Hashable) -> None:
        with self._lock:
            del self._flights[name]
