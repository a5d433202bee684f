"""Which tests each of several processes runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import NamedTuple

NO_TEST = -1
LOCKED_WITHIN = 30.0  # seconds; a lock that a killed process holds stays locked


class Share(NamedTuple):
    """A worker's part of the tests: the one that it runs, and the first and the end of the rest."""

    running: int
    first: int
    end: int

    @property
    def left(self) -> int:
        return self.end - self.first


class Shares:
    """Which tests each worker runs, in memory that the workers share.

    Each begins with a part of the list, since neighbours often use the same fixtures. Who has
    nothing left takes half of what another has, but never its next test: what the running test
    tears down depends on that one.
    """

    def __init__(self, tests: int, workers: int) -> None:
        self._workers = range(workers)
        self._numbers = get_context("fork").Array("i", 3 * workers)
        for worker in self._workers:
            first, end = (tests * part // workers for part in (worker, worker + 1))
            self._give(worker, Share(NO_TEST, first, end))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._numbers.get_lock()
        if not lock.acquire(timeout=LOCKED_WITHIN):
            raise TimeoutError("A worker died as it took a test, and left the list locked.")
        try:
            yield
        finally:
            lock.release()

    def of(self, worker: int) -> Share:
        return Share(*self._numbers[3 * worker : 3 * worker + 3])

    def _give(self, worker: int, share: Share) -> None:
        self._numbers[3 * worker : 3 * worker + 3] = share

    def advance(self, worker: int) -> tuple[int, int | None] | None:
        """Return the test that a worker now runs, and the one after it; None at the end."""
        with self._locked():
            self._fill(worker)
            _, first, end = self.of(worker)
            is_over = first == end
            taken = Share(NO_TEST, end, end) if is_over else Share(first, first + 1, end)
            self._give(worker, taken)
            self._fill(worker)
            running, following, end = self.of(worker)
            return None if is_over else (running, following if following < end else None)

    def _fill(self, worker: int) -> None:
        """Have a worker with nothing left take from the one that has most."""
        own = self.of(worker)
        if own.left == 0:
            other = max(self._workers, key=lambda each: self.of(each).left)
            theirs = self.of(other)
            middle = theirs.end - theirs.left // 2
            self._give(other, theirs._replace(end=middle))
            self._give(worker, Share(own.running, middle, theirs.end))

    def take_running(self, worker: int) -> int:
        """Return the test during which a worker died; it will not run again."""
        with self._locked():
            share = self.of(worker)
            self._give(worker, share._replace(running=NO_TEST))
            return share.running

    def clear(self) -> None:
        """Have no worker begin another test."""
        with self._locked():
            for worker in self._workers:
                share = self.of(worker)
                self._give(worker, share._replace(end=share.first))
