"""How long ago something was, whichever way the wall clock was set meanwhile."""

from collections.abc import Callable
from typing import NamedTuple


class Moment(NamedTuple):
    """A point in time on both clocks, in seconds."""

    wall: float
    steady: float


class Stopwatch:
    """Reads two clocks and believes the one by which more time has passed.

    The wall clock can be set back; the monotonic one stands still while the
    machine is suspended. Neither may make a data key live longer.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady

    def now(self) -> Moment:
        """Return this moment."""
        return Moment(self._wall(), self._steady())

    def since(self, moment: Moment) -> float:
        """Return the seconds that have passed since a moment, at the most."""
        return max(self._wall() - moment.wall, self._steady() - moment.steady)
