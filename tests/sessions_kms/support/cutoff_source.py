"""A source of the not-before cutoff, and a process that reads it."""

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.storage.not_before import NotBefore
from tests.sessions_kms.support.stepping import as_coroutine
from tests.support.clock import FakeClock


class CutoffSource:
    """What the table says, how often it was asked, and the process that asks it."""

    def __init__(self, clock: FakeClock, moment: int = 0) -> None:
        self.clock = clock
        self.moment = moment
        self.error: Exception | None = None
        self.reads = 0
        self.not_before = NotBefore(as_coroutine(self), at_least=0, clock=clock)

    def __call__(self) -> int:
        self.reads += 1
        if self.error:
            raise self.error
        return self.moment

    def cutoff(self) -> int:
        """Return the cutoff that the process uses now."""
        return run_sync(self.not_before.moment())
