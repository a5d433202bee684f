"""The moment before which no session counts, for the whole fleet.

Takes a function that reads it from the table, and gives epoch seconds. It only
moves forward in memory, whatever the table says. There are others, with a name, for
what else has a beginning.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock, RLock

from sessions_kms import deadline
from sessions_kms.exceptions import InvalidRecord, TableUnavailable

READ_EVERY = 30  # seconds
GOOD_FOR = 60  # seconds without a successful read, after which nobody can tell
RETRY_AFTER = 5  # seconds
NAMES_MAX = 256  # of moments that one process follows

_sources: list[Callable[[], Iterable[str]]] = []


def names_from(source: Callable[[], Iterable[str]]) -> None:
    """Have a package say which names of moments it heeds; an operator can mistype one."""
    _sources.append(source)


def known_names() -> set[str]:
    """Return the names of moments that somebody heeds."""
    return {name for source in _sources for name in source()}


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
        self._raising = Lock()
        self._reading = RLock()  # A log handler may ask again in the middle of it.

    def moment(self) -> int:
        """Return the moment in force. Raises TableUnavailable."""
        reads = self._reads
        # Only while nothing good is held does a thread wait for another's read.
        if not self._good(READ_EVERY) and self._takes_turn():
            try:
                if reads == self._reads:  # Else the read that it waited for counts, failed or not.
                    self._refresh()
            finally:
                self._reading.release()
        if not self._good(GOOD_FOR):
            raise TableUnavailable
        return self._moment

    def _takes_turn(self) -> bool:
        if self._good(GOOD_FOR):
            return self._reading.acquire(blocking=False)
        return deadline.acquired(self._reading)

    def held(self) -> int | None:
        """Return the moment if that takes no reading, else None."""
        return self._moment if self._good(READ_EVERY) else None

    def at_least(self, moment: int) -> None:
        """Move the moment of this process forward: it was raised in the table."""
        with self._raising:
            self._moment = max(self._moment, moment)

    def _good(self, age: int) -> bool:
        # A clock that went back makes the last read look young; it is read again.
        return self._read_at is not None and 0 <= self._clock() - self._read_at < age

    def _refresh(self) -> None:
        now = self._clock()
        if self._good(GOOD_FOR) and now < self._next_read:
            return
        self._next_read = now + RETRY_AFTER
        try:
            moment = self._read()
        except (TableUnavailable, InvalidRecord):
            return
        else:
            self.at_least(moment)
            self._read_at = now
        finally:
            self._reads += 1


class NamedNotBefores:
    """One process's view of the moments that have names."""

    def __init__(self, read: Callable[[str], int], *, clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._known: OrderedDict[str, NotBefore] = OrderedDict()
        self._lock = Lock()

    def of(self, name: str) -> NotBefore:
        """Return the moment of this name, read at its first use."""
        with self._lock:
            if name not in self._known:
                read = partial(self._read, name)
                self._known[name] = NotBefore(read, at_least=0, clock=self._clock)
            self._known.move_to_end(name)
            if len(self._known) > NAMES_MAX:
                self._known.popitem(last=False)
            return self._known[name]
