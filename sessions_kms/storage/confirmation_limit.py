"""How often a process reads once more what is not there, for those who may name what never was.

Ids of items enter, and the moment is a steady clock's. Anybody can make up a cookie: so many
confirmations a second, and none of an item that was confirmed to be missing a moment ago.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum, auto
from threading import Lock
from time import monotonic
from typing import Final

A_SECOND: Final = 50  # confirmations
KNOWN_FOR: Final = 2.0  # seconds that an item is known to be missing


class Confirm(Enum):
    """When an item that is not there is read once more, on another connection."""

    ALWAYS = auto()
    LIMITED = auto()  # where anybody can have such items read
    NEVER = auto()  # where a write that follows would find it, or nothing depends on it


class ConfirmationLimit:
    """The confirmations of one process."""

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self._steady = steady
        self._lock = Lock()
        self._lately: deque[float] = deque(maxlen=A_SECOND)  # when the last ones were allowed
        # Since when; the oldest first. As many as were allowed in that time, and no more.
        self._missing: OrderedDict[str, float] = OrderedDict()

    def allows(self, item_id: str) -> bool:
        """Tell whether a missing item may be read once more, and count that."""
        with self._lock:
            now = self._steady()
            while self._missing and now - next(iter(self._missing.values())) >= KNOWN_FOR:
                self._missing.popitem(last=False)
            if item_id in self._missing:
                return False
            if len(self._lately) == A_SECOND and now - self._lately[0] < 1:
                return False
            self._lately.append(now)
            return True

    def confirmed(self, item_id: str) -> None:
        """Note that an item is missing by two answers."""
        with self._lock:
            self._missing.pop(item_id, None)
            self._missing[item_id] = self._steady()
