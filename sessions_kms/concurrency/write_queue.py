"""Queues of the threads and tasks of a process that change the same record: one writes for all.

The leader sees the work of all waiters, settles as much as it can, and passes the lead to the
longest waiter. Threads and tasks of event loops wait in one queue. An empty queue is dropped. This
module does not depend on sessions or tables.
"""

import random
from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile
from threading import RLock, get_ident
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Event, is_held_here, mark_held, unmark_held
from sessions_kms.exceptions import StoreUnavailable

WAITING_MAX: Final = 256  # in one queue
RESTING_MAX: Final = 1024  # names
REST_MAX: Final = 0.5  # seconds, however slow a write is
WEIGHT: Final = 0.25  # of the last write in the measured latency
PAUSE: Final = 0.02  # maximum seconds before the second attempt, doubled before each further one
PAUSE_MAX: Final = 0.5
RETRY_BUDGET: Final = (
    deadline.REQUEST
)  # seconds for the retries of one save, outside of requests too
BUSY: Final = "The session is being changed by too many requests at once."

T = TypeVar("T")


class RetryBudget:
    """The time for the attempts of one save."""

    __slots__ = ("_ends", "_pause", "_steady")

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._ends = steady() + RETRY_BUDGET
        self._pause = PAUSE

    def remaining(self) -> float:
        """Return the remaining seconds, or those of the request if they are fewer."""
        left, of_request = self._ends - self._steady(), deadline.budget_left()
        return left if of_request is None else min(left, of_request)

    @property
    def is_exhausted(self) -> bool:
        """Return True if there is no time for another attempt."""
        left = deadline.budget_left()
        if left is not None and left < deadline.LEAST:
            return True
        return self._ends - self._steady() < deadline.LEAST

    def next_pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        longest, self._pause = self._pause, min(2 * self._pause, PAUSE_MAX)
        return max(0.0, min(random.uniform(0, longest), self.remaining()))  # noqa: S311 - only spreads


class Waiter(Generic[T]):
    """A thread or task in a queue, with its work."""

    __slots__ = ("_event", "budget", "is_settled", "queue", "thread", "was_queued", "work")

    def __init__(self, queue: "WriteQueue[T]", work: T, budget: RetryBudget) -> None:
        self.queue = queue
        self.work = work
        self.budget = budget
        self.thread = get_ident()  # or that of its event loop
        self.is_settled = False
        self.was_queued = False  # whether there was a leader when this one joined
        self._event: Event | None = None  # None for the leader

    async def wait_to_lead(self) -> bool:
        """Wait for the lead; return False if the leader has settled the work.

        Raises OutOfTime if the time budget is used up.
        """
        if self.is_settled:
            return False
        if self._event is not None:  # None: it has been the leader since it joined.
            is_set = await self._sleep(self._event)
            if not self.queue.is_unsettled(self):
                return False
            if not is_set:
                raise deadline.OutOfTime
        if self.budget.is_exhausted:
            raise deadline.OutOfTime
        return True

    def settle(self) -> None:
        """Mark the work as done, or as impossible."""
        self.queue.settle(self)

    def leave(self) -> None:
        """Leave the queue, and give up the lead."""
        self.queue.leave(self)

    def must_wait(self) -> None:
        """Make it wait until it is woken."""
        self.was_queued, self._event = True, Event()

    def wake(self) -> None:
        """Wake it, if it waits."""
        if self._event is not None:
            self._event.set()

    async def _sleep(self, event: Event) -> bool:
        """Wait to be woken, charged to the request; return False on timeout.

        In an event loop, `run_sync` does not wait for other tasks of the loop: they cannot go on.
        """
        if event.is_set:
            return True
        try:
            with deadline.waiting():
                seconds = max(0.0, self.budget.remaining())
                came: bool = await event.wait(seconds, behind=self.queue.threads_before(self))
                return came
        except deadline.OutOfTime:
            return event.is_set


class WriteQueue(Generic[T]):
    """The waiters of one record, in the order in which they joined.

    ``known`` is the last stored version that a leader has seen, for the next leader.
    ``is_contended`` says that another process has written since the last write of this one.
    """

    __slots__ = ("_leader", "_name", "_queues", "_waiters", "is_contended", "known")

    def __init__(self, queues: "WriteQueues[T]", name: str) -> None:
        self.known: Any = None
        self.is_contended = False
        self._queues = queues
        self._name = name
        self._waiters: list[Waiter[T]] = []
        self._leader: Waiter[T] | None = None

    # Call these with the lock of the queues held.

    def add(self, waiter: Waiter[T]) -> None:
        if len(self._waiters) >= WAITING_MAX:
            raise StoreUnavailable(BUSY)
        self._waiters.append(waiter)
        if self._leader is None:
            self._leader = waiter
            mark_held(waiter)
        else:
            waiter.must_wait()

    @property
    def is_led_from_here(self) -> bool:
        return self._leader is not None and is_held_here(self._leader)

    # Call these without it.

    def waiting(self) -> list[Waiter[T]]:
        """Return all unsettled waiters, including the leader, in the order of joining."""
        with self._queues.lock:
            return list(self._waiters)

    def threads_before(self, waiter: Waiter[T]) -> set[int]:
        """Return the threads of those that lead first, or whose event loops they run in."""
        with self._queues.lock:
            before = [*takewhile(lambda each: each is not waiter, self._waiters)]
            if self._leader not in (None, waiter):  # It may have been settled, and still lead.
                before.append(self._leader)
        return {each.thread for each in before}

    def is_unsettled(self, waiter: Waiter[T]) -> bool:
        """Return True if a waiter's work is not settled; mark a new leader as held."""
        with self._queues.lock:
            if waiter.is_settled:
                return False
            if self._leader is waiter and not is_held_here(waiter):
                mark_held(waiter)
            return True

    def settle(self, waiter: Waiter[T]) -> None:
        with self._queues.lock:
            waiter.is_settled = True
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if waiter.was_queued:
            waiter.wake()

    def leave(self, waiter: Waiter[T]) -> None:
        unmark_held(waiter)
        with self._queues.lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if self._leader is not waiter:
                return
            self._leader = next(iter(self._waiters), None)
            if self._leader is None:
                self._queues.forget(self._name, self)
            else:
                self._leader.wake()

    def pause(self) -> float:
        """Return the seconds to wait before the next write, so that other processes can write."""
        return self._queues.pause(self._name)

    def note_write(self) -> None:
        """Note a successful write: if other processes compete, let them write next."""
        if self.is_contended:
            self.is_contended = False
            self._queues.yield_to_others(self._name)


class WriteQueues(Generic[T]):
    """The queues of one process. ``latency`` is the recent duration of a write, in seconds."""

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self.steady = steady
        self.latency = 0.0
        self.lock = RLock()  # An abandoned coroutine may be closed at any point.
        self._queues: dict[str, WriteQueue[T]] = {}
        self._rests: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of queues."""
        return len(self._queues)

    def join(self, name: str, work: T) -> Waiter[T]:
        """Join a queue; the waiter must leave it. Raises StoreUnavailable if it is full.

        A leader that joins again, for example in a log handler, gets a separate queue: otherwise it
        would wait for itself.
        """
        budget = RetryBudget(self.steady)
        with self.lock:
            queue = self._queues.get(name)
            if queue is None:
                queue = self._queues[name] = WriteQueue(self, name)
            elif queue.is_led_from_here:
                queue = WriteQueue(self, name)
            waiter = Waiter(queue, work, budget)
            queue.add(waiter)
            return waiter

    def start_budget(self) -> RetryBudget:
        """Return a new retry budget, which starts now."""
        return RetryBudget(self.steady)

    def note_latency(self, seconds: float) -> None:
        """Update the latency with the duration of a write that was answered."""
        self.latency += (seconds - self.latency) * (WEIGHT if self.latency else 1)

    def yield_to_others(self, name: str) -> None:
        """Let other processes write for the duration of one write."""
        now = self.steady()
        with self.lock:
            self._rests[name] = now + min(self.latency, REST_MAX)
            self._rests.move_to_end(name)
            while self._rests:
                oldest = next(iter(self._rests))
                if self._rests[oldest] > now and len(self._rests) <= RESTING_MAX:
                    break
                del self._rests[oldest]

    def pause(self, name: str) -> float:
        """Return the remaining seconds of that time."""
        until = self._rests.get(name)
        return 0.0 if until is None else max(0.0, until - self.steady())

    def forget(self, name: str, queue: WriteQueue[T]) -> None:
        """Drop an empty queue. Call this with the lock held."""
        if self._queues.get(name) is queue:
            del self._queues[name]
