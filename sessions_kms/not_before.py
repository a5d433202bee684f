"""The moment before which no session counts, for the whole fleet.

Takes a function that reads it from the table, and gives epoch seconds. It only
moves forward in memory, whatever the table says.
"""

from collections.abc import Callable
from threading import Lock

from sessions_kms.exceptions import InvalidRecord, TableUnavailable

READ_EVERY = 30  # seconds
GOOD_FOR = 60  # seconds without a successful read, after which nobody can tell
RETRY_AFTER = 5  # seconds


class NotBefore:
    """One process's view of the moment, read again every 30 seconds."""

    def __init__(
        self, read: Callable[[], int], *, at_least: int, clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._moment = at_least
        self._clock = clock
        self._read_at: float | None = None
        self._next_read = 0.0
        self._reads = 0
        self._reading = Lock()

    def moment(self) -> int:
        """Return the moment in force. Raises TableUnavailable."""
        reads = self._reads
        # Only while nothing good is held does a thread wait for another's read.
        if not self._good(READ_EVERY) and self._reading.acquire(blocking=not self._good(GOOD_FOR)):
            try:
                if reads == self._reads:  # Else the read that it waited for counts, failed or not.
                    self._refresh()
            finally:
                self._reading.release()
        if not self._good(GOOD_FOR):
            raise TableUnavailable
        return self._moment

    def _good(self, age: int) -> bool:
        # A clock that went back makes the last read look young; it is read again.
        return self._read_at is not None and 0 <= self._clock() - self._read_at < age

    def _refresh(self) -> None:
        now = self._clock()
        if self._good(GOOD_FOR) and now < self._next_read:
            return
        self._next_read = now + RETRY_AFTER
        try:
            self._moment = max(self._moment, self._read())
        except (TableUnavailable, InvalidRecord):
            return
        else:
            self._read_at = now
        finally:
            self._reads += 1
