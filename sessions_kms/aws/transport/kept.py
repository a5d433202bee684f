"""Connections that wait for their next request, and for how long they may.

Connections enter and leave; the freshest first, so that what is not needed grows old. Knows
neither sockets nor HTTP.
"""

from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from random import uniform
from threading import Lock
from typing import Final, Generic, Protocol, TypeVar

IDLE: Final = 20.0  # seconds that a connection waits at most
AGE: Final = 60.0  # seconds after which it is made anew, as names may point elsewhere by then


class Connection(Protocol):
    """A connection as the caller sees it that got an answer on it."""

    def distrust(self) -> None:
        """Close it, or have whoever uses it close it: it may give answers to other requests."""
        ...


class Keepable(Protocol):
    """A connection that waits for its next request."""

    ends: float  # the moment at which it is too old

    def is_quiet(self) -> bool:
        """Tell whether it stands and nothing has come on it: whatever has, was not asked for."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


C = TypeVar("C", bound=Keepable)


def end_of_one_made(now: float) -> float:
    """Return when a connection is too old; those that were made at once are not so at once."""
    return now + uniform(0.8, 1) * AGE  # noqa: S311 - only spreads


class Kept(Generic[C]):
    """A stack of them, for many threads."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._lock = Lock()
        self._idle: deque[tuple[float, C]] = deque()  # since when; the oldest on the left

    def take(self, apart_from: Container[object] = ()) -> C | None:
        """Take one that can be asked, but for these; close those that cannot."""
        passed_over: list[tuple[float, C]] = []
        try:
            while True:
                try:
                    each = self._idle.pop()  # at once, as far as other threads can tell
                except IndexError:
                    return None
                since, connection = each
                if connection in apart_from:
                    passed_over.append(each)
                    continue
                now = self._steady()
                if now - since < IDLE and now < connection.ends and connection.is_quiet():
                    return connection
                connection.close()
        finally:
            if passed_over:
                self._idle.extend(reversed(passed_over))

    def remove(self, connection: C) -> None:
        """Close one if it is idle; whoever uses it meanwhile closes it otherwise."""
        for each in list(self._idle):
            if each[1] is connection:
                with suppress(ValueError):  # Another thread has just taken it.
                    self._idle.remove(each)
                    connection.close()

    def keep(self, connection: C) -> None:
        """Put one back; close the one that has waited longest, if too long."""
        now, stale = self._steady(), None
        with self._lock:
            self._idle.append((now, connection))
            if now - self._idle[0][0] >= IDLE:
                _, stale = self._idle.popleft()
        if stale is not None:
            stale.close()

    def close(self) -> None:
        """Close all."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    def all(self) -> list[C]:
        """Return all that are kept, without waiting for a lock that a forked parent may hold."""
        return [connection for _, connection in self._idle]
