"""A circuit breaker: calls of a service that keeps timing out fail at once, until a probe succeeds.

Takes the outcomes of calls, and raises `CircuitOpen`. This module does not depend on the calls.
"""

import logging
from collections.abc import Callable, Coroutine
from enum import Enum
from threading import Lock
from time import monotonic, sleep
from typing import Any, Final

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.threads import start_thread
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.telemetry import telemetry

TIMEOUTS_MAX: Final = 5  # in a row; then it opens
PROBE_EVERY: Final = 0.5  # seconds between probes
PROBE: Final = 1.0  # seconds that a probe may take

logger = logging.getLogger(__name__)


class CircuitOpen(Exception):
    """The service timed out so often that this call was not started."""


class Outcome(Enum):
    """How an attempt ended."""

    RESPONSE = "response"  # an error response counts, too
    TIMEOUT = "timeout"
    FAILURE = "failure"  # at once, such as no connection: it delays nobody, and proves nothing


Probe = Callable[[], Coroutine[Any, Any, Outcome]]


class Circuit:
    """Whether one service responds in time, as this process has seen it.

    While the circuit is open, one thread probes. Where no thread can be started, the next call
    after a probe is due makes it, and an event loop continues meanwhile.
    """

    def __init__(
        self,
        service: str,
        *,
        start: Callable[[Callable[[], None]], None] = start_thread,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._service = service
        self._start = start
        self._clock = clock
        self._pause = pause
        self._lock = Lock()
        self.timeouts = 0  # in a row
        self.is_open = False  # whether calls fail at once
        self._probing = False
        self._next_probe = 0.0
        self._is_stopped = False

    def stop_probing(self) -> None:
        """End the thread that probes: this circuit will not be used again."""
        self._is_stopped = True

    async def check(self, probe: Probe) -> None:
        """Let a call pass unless the circuit is open. Raises CircuitOpen."""
        if self._claim_probe() and not self._start_probing(probe):
            await self._probe_once(probe)
        if self.is_open:
            telemetry.count("circuit", service=self._service, event="refused")
            raise CircuitOpen

    def record_response(self) -> None:
        """Note that an attempt got a response."""
        self.timeouts = 0

    def record(self, outcome: Outcome, probe: Probe) -> None:
        """Note how an attempt ended; the last of too many timeouts opens the circuit."""
        if outcome is Outcome.RESPONSE:
            self.record_response()
        elif outcome is Outcome.TIMEOUT and self._count_timeout():
            logger.error(
                "%s timed out %d times in a row. Calls fail at once until it answers a probe.",
                self._service,
                TIMEOUTS_MAX,
            )
            telemetry.count("circuit", service=self._service, event="opened")
            if self._claim_probe() and not self._start_probing(probe):
                self._end_probe(False)  # The first call after the next one is due makes it.

    def _count_timeout(self) -> bool:
        """Count a timeout; return True if it opens the circuit."""
        with self._lock:
            self.timeouts += 1
            if self.is_open or self.timeouts < TIMEOUTS_MAX:
                return False
            self.is_open = True
            return True

    def _claim_probe(self) -> bool:
        """Return True if a probe is due and nobody else makes it: the caller must."""
        with self._lock:
            if not self.is_open or self._probing or self._clock() < self._next_probe:
                return False
            self._probing = True
            return True

    def _start_probing(self, probe: Probe) -> bool:
        """Probe in a thread until there is a response; return False if no thread can be started."""
        try:
            self._start(lambda: self._probe_until_response(probe))
        except RuntimeError:
            return False
        return True

    def _probe_until_response(self, probe: Probe) -> None:
        has_response = False
        try:
            while not has_response and not self._is_stopped:
                self._pause(PROBE_EVERY)
                has_response = run_sync(_has_response(probe))
        finally:
            self._end_probe(has_response)

    async def _probe_once(self, probe: Probe) -> None:
        has_response = False
        try:
            has_response = await _has_response(probe)
        finally:
            self._end_probe(has_response)

    def _end_probe(self, has_response: bool) -> None:
        with self._lock:
            self._probing = False
            self._next_probe = self._clock() + PROBE_EVERY
            if has_response:
                self.is_open, self.timeouts = False, 0
        if has_response:
            logger.warning("%s answers again.", self._service)
            telemetry.count("circuit", service=self._service, event="closed")


async def _has_response(probe: Probe) -> bool:
    try:
        with deadline.call(PROBE):
            return await probe() is Outcome.RESPONSE
    except deadline.OutOfTime:
        return False
