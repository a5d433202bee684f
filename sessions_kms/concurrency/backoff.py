"""How long one save or key change goes on meeting others' writes, and how long it pauses.

Seconds, by a clock that nobody sets. What counts is the time, not the number of tries.
"""

import random
from collections.abc import Callable
from typing import Final

from sessions_kms.concurrency import deadline

PATIENCE: Final = deadline.REQUEST  # seconds, outside of requests, too
PAUSE: Final = 0.02  # seconds at most before the second try, twice as many before each further one
PAUSE_MAX: Final = 0.5


class Patience:
    """The time that one of them has."""

    __slots__ = ("_ends", "_pause", "_steady")

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._ends = steady() + PATIENCE
        self._pause = PAUSE

    def left(self) -> float:
        """Return the seconds that are left: the request's own, where those are fewer."""
        left, of_request = self._ends - self._steady(), deadline.budget_left()
        return left if of_request is None else min(left, of_request)

    @property
    def is_over(self) -> bool:
        """Tell whether no further try is to begin."""
        left = deadline.budget_left()
        if left is not None and left < deadline.LEAST:
            return True
        return self._ends - self._steady() < deadline.LEAST

    def pause(self) -> float:
        """Return the seconds to wait before the next try, on the request's account."""
        longest, self._pause = self._pause, min(2 * self._pause, PAUSE_MAX)
        return max(0.0, min(random.uniform(0, longest), self.left()))  # noqa: S311 - only spreads
