"""Limits requests with assertions: a client may ask for its grant, but not all the time."""

import math
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock
from typing import Final

from oauth.clients.rules.errors import TooManyRequests

REQUESTS_MAX: Final = 10
WINDOW: Final = 60  # seconds
KEYS_MAX: Final = 20_000

Key = tuple[str, str, str]  # user, client and upstream


class RequestRate:
    """The requests of one process in the last minute, by user, client and upstream."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()

    def count(self, key: Key, clock: Callable[[], float]) -> None:
        """Count a request. Raises TooManyRequests, and then it does not count."""
        now = clock()
        with self._lock:
            times = self._times.setdefault(key, deque(maxlen=REQUESTS_MAX))
            # A clock that was set back limits nobody.
            if len(times) == REQUESTS_MAX and 0 <= now - times[0] < WINDOW:
                raise TooManyRequests(max(1, math.ceil(times[0] + WINDOW - now)))
            times.append(now)
            self._times.move_to_end(key)
            while len(self._times) > KEYS_MAX:
                self._times.popitem(last=False)


def request_rate() -> RequestRate:
    """Return this process's."""
    return _rate


def reset_rate() -> None:
    """Forget all requests."""
    global _rate  # noqa: PLW0603 - a forked child starts with none, and so do tests
    _rate = RequestRate()


_rate = RequestRate()
os.register_at_fork(after_in_child=reset_rate)
