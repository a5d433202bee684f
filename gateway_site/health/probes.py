"""A probe of one dependency, run in its own thread and shared by all requests."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum, auto

from django.core.exceptions import ImproperlyConfigured

from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.hints import command
from sessions_kms.outages import cause_of

logger = logging.getLogger(__name__)

MAX_AGE = 5.0  # seconds after the start of an attempt for which its outcome is reused


class Outcome(Enum):
    """How an attempt to use a dependency ended."""

    OK = auto()
    REJECTED = auto()  # it answered that this process may not use it, or that there is none
    FAILED = auto()  # an outage: no response, throttling, an error of its own


class ReportedError(Exception):
    """The probe has logged what is wrong."""


class DatabaseRejectedError(Exception):
    """The SQL database rejects the credentials, the name or the rights of this process."""


def is_rejection(error: Exception) -> bool:
    """Return True if only a change of a setting or of rights helps, or time until it has spread."""
    if isinstance(error, StoreUnavailable):
        return error.is_rejection
    return isinstance(error, DatabaseRejectedError | ImproperlyConfigured)


class SharedProbe:
    """The last outcome of a probe, renewed in its own thread when it is old."""

    def __init__(
        self,
        name: str,
        probe: Callable[[], None],
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._probe = probe
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"health-{name}")
        self._outcome: Future[Outcome] | None = None
        self._previous: Future[Outcome] | None = None
        self._began = 0.0

    def outcome(self) -> Future[Outcome]:
        """Return the current outcome, or the pending one; waiting for it occupies no thread."""
        with self._lock:
            outcome = self._outcome
            if outcome is None or (outcome.done() and self.seconds() >= self._max_age):
                self._began, self._previous = self._clock(), outcome
                outcome = self._outcome = self._executor.submit(self._attempt)
            return outcome

    def latest(self) -> Future[Outcome]:
        """Return the last outcome if there is one, although a new attempt may be pending.

        In an outage an attempt takes seconds, and load balancers wait for one second only.
        """
        outcome = self.outcome()
        return self._previous if self._previous and not outcome.done() else outcome

    def seconds(self) -> float:
        """Return the seconds since the last attempt began."""
        return self._clock() - self._began

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True)

    def _attempt(self) -> Outcome:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001  (any failure counts)
            if is_rejection(error):
                _log_rejection(self.name, error)
                return Outcome.REJECTED
            if not isinstance(error, ReportedError):
                # Only the type: a message may repeat what a service answered.
                logger.warning("Health check of %s failed: %s.", self.name, type(error).__name__)
            return Outcome.FAILED
        return Outcome.OK


def _log_rejection(name: str, error: Exception) -> None:
    remedy = f"`{command('check_session_store')}` says what to do."
    more = f" {remedy}" if isinstance(error, StoreUnavailable) else ""
    logger.error("Health check of %s: it rejects this process. %s%s", name, cause_of(error), more)
