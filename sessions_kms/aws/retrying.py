"""Which failed attempts are worth another one, and when: as boto's standard mode has it.

An error enters; a pause leaves, or None. Knows errors by their names only.
"""

import random
from collections.abc import Callable
from threading import Lock
from time import sleep
from typing import Final, NamedTuple

from sessions_kms.aws.http1.garbled import GarbledAnswer

__all__ = ["ATTEMPTS", "Failure", "GarbledAnswer", "Retries", "sleep"]

ATTEMPTS: Final = 3
THROTTLED_PAUSE: Final = 1.0  # seconds at most before the second attempt, twice that later
PAUSE: Final = 0.05  # the same of other failures
PAUSES: Final = {"dynamodb": 0.025}  # the same of services that differ

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
TRANSIENT = frozenset({"PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException"})
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
TOO_MANY = 429


class Failure(NamedTuple):
    """An attempt that failed: the name and status of AWS's error, or neither: no answer."""

    code: str | None = None
    status: int | None = None

    @property
    def is_throttled(self) -> bool:
        """Tell whether AWS asks for fewer calls."""
        return self.code in THROTTLED or self.status == TOO_MANY

    @property
    def is_transient(self) -> bool:
        """Tell whether another attempt may fare better."""
        if self.code is None:
            return True
        return self.is_throttled or self.code in TRANSIENT or self.status in TRANSIENT_STATUSES


class Retries:
    """The retries of one service, of which an outage may use up only so many.

    Each costs from a quota that answers fill again, so that a service in trouble is not
    asked three times as much.
    """

    def __init__(self, service: str, *, chance: Callable[[], float] = random.random) -> None:
        self._pause = PAUSES.get(service, PAUSE)
        self._chance = chance
        self._quota = _Quota()

    def pause_after(self, tried: int, failure: Failure) -> float | None:
        """Return the seconds to wait before the next attempt; None where there is to be none."""
        if tried >= ATTEMPTS or not failure.is_transient or not self._quota.takes(failure):
            return None
        longest = THROTTLED_PAUSE if failure.is_throttled else self._pause
        pause: float = self._chance() * longest * 2 ** (tried - 1)
        return pause

    def answered(self) -> None:
        """Hear that a call was answered."""
        self._quota.fill()


class _Quota:
    FULL, FOR_THROTTLED, FOR_OTHERS = 500, 5, 14

    def __init__(self) -> None:
        self._left = self.FULL
        self._lock = Lock()

    def takes(self, failure: Failure) -> bool:
        cost = self.FOR_THROTTLED if failure.is_throttled else self.FOR_OTHERS
        with self._lock:
            if cost > self._left:
                return False
            self._left -= cost
            return True

    def fill(self) -> None:
        with self._lock:
            self._left = min(self.FULL, self._left + self.FOR_THROTTLED)
