"""Which failed attempts are worth another one, and when: as boto's standard mode has it.

An error enters; a pause leaves, or None. Knows errors by their names only. That boto bounds a
pause by 20 seconds matters from the sixth attempt on, which nobody makes here.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import random
from collections.abc import Callable, Mapping
from threading import Lock
from time import sleep
from typing import Final, NamedTuple

from sessions_kms.aws.http1.garbled import GarbledAnswer

__all__ = ["ATTEMPTS", "Failure", "GarbledAnswer", "Retries", "seconds_told", "sleep"]

ATTEMPTS: Final = 3
THROTTLED_PAUSE: Final = 1.0  # seconds at most before the second attempt, twice that later
PAUSE: Final = 0.05  # the same of other failures
PAUSES: Final = {"dynamodb": 0.025}  # the same of services that differ
TOLD_MAX: Final = 5.0  # seconds that a service may have added to a pause
RETRY_AFTER: Final = "x-amz-retry-after"  # milliseconds

THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
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
TRANSIENT = frozenset({"RequestTimeout", "RequestTimeoutException"})
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
TOO_MANY = 429


class Failure(NamedTuple):
    """An attempt that failed: the name and status of AWS's error, or neither: no answer.

    ``wait`` are the seconds that the service asked for.
    """

    code: str | None = None
    status: int | None = None
    wait: float | None = None

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


def seconds_told(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait; None where it does not tell, or badly."""
    try:
        told = int(headers[RETRY_AFTER]) / 1000
    except (KeyError, ValueError, OverflowError):
        return None
    return told if told >= 0 else None


class Retries:
    """The retries of one service, of which an outage may use up only so many.

    Each costs from a quota that answers fill again, so that a service in trouble is not
    asked three times as much.
    """

    def __init__(self, service: str, *, chance: Callable[[], float] = random.random) -> None:
        self.pause = PAUSES.get(service, PAUSE)
        self.chance = chance
        self.quota = _Quota()

    def answered(self, tokens: int) -> None:
        """Hear that a call was answered, which gives so many tokens back."""
        if self.quota.left != FULL:  # Nearly always it is: no lock then.
            self.quota.fill(tokens)

    def of_call(self, attempts: int = ATTEMPTS) -> "RetriesOfCall":
        """Return the retries of a call that is about to be made, as so many attempts at most."""
        return RetriesOfCall(self, attempts)


class RetriesOfCall:
    """The retries of one call, whose attempts come one after the other."""

    __slots__ = ("_attempts", "_cost", "_retries", "_tried")

    def __init__(self, retries: Retries, attempts: int) -> None:
        self._retries = retries
        self._attempts = attempts
        self._tried = 0
        self._cost = 0  # of the last retry

    def pause_after(self, failure: Failure) -> float | None:
        """Return the seconds from a failed attempt to the next; None where there is to be none."""
        self._tried += 1
        if self._tried >= self._attempts or not failure.is_transient:
            return None
        cost = FOR_THROTTLED if failure.is_throttled else FOR_OTHERS
        if not self._retries.quota.takes(cost):
            return None
        self._cost = cost
        return self._pause(failure)

    def _pause(self, failure: Failure) -> float:
        longest = THROTTLED_PAUSE if failure.is_throttled else self._retries.pause
        pause: float = self._retries.chance() * longest * 2 ** (self._tried - 1)
        told = failure.wait or 0.0
        return max(pause, min(told, pause + TOLD_MAX))

    def answered(self) -> None:
        """Hear that the call was answered: what its last retry cost is given back."""
        self._retries.answered(self._cost or UNTRIED)


FULL, FOR_THROTTLED, FOR_OTHERS, UNTRIED = 500, 5, 14, 1  # tokens, of boto's standard mode


class _Quota:
    def __init__(self) -> None:
        self.left = FULL
        self._lock = Lock()

    def takes(self, cost: int) -> bool:
        with self._lock:
            if cost > self.left:
                return False
            self.left -= cost
            return True

    def fill(self, tokens: int) -> None:
        with self._lock:
            self.left = min(FULL, self.left + tokens)
