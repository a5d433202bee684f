"""A service that times out again and again is not waited for until a probe is answered.

Outcomes enter; `CircuitOpen` leaves at once. Knows nothing of what is asked.
"""

import logging
from collections.abc import Callable, Coroutine
from enum import Enum
from threading import Lock
from time import monotonic, sleep
from typing import Any, Final

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.background import start_thread
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.telemetry import telemetry

TIMEOUTS: Final = 5  # in a row, after which it opens
PROBE_EVERY: Final = 0.5  # seconds between probes
PROBE: Final = 1.0  # seconds that a probe may take

logger = logging.getLogger(__name__)


class CircuitOpen(Exception):
    """The service did not answer for so often that this call was not begun."""


class Outcome(Enum):
    """How an attempt ended."""

    ANSWERED = "answered"  # an error is an answer, too
    TIMED_OUT = "timed out"
    FAILED = "failed"  # at once: no connection, say. It holds nobody up, and proves nothing


Probe = Callable[[], Coroutine[Any, Any, Outcome]]


class Circuit:
    """What one process knows of one service: whether it answers in time.

    While it is open one thread probes; where no thread can be started, a call does that
    comes when a probe is due, in its own way: an event loop goes on meanwhile.
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
        self.in_a_row = 0  # time-outs
        self.is_open = False  # whether calls fail at once
        self._probing = False
        self._next_probe = 0.0
        self._forgotten = False

    def forget(self) -> None:
        """Probe no more: nobody will ask this one again."""
        self._forgotten = True

    async def passed(self, probe: Probe) -> None:
        """Let a call pass while the service answers. Raises CircuitOpen."""
        if self._takes_probe() and not self._probes_behind(probe):
            await self._probe_once(probe)
        if self.is_open:
            telemetry.count("circuit", service=self._service, event="refused")
            raise CircuitOpen

    def answered(self) -> None:
        """Hear that an attempt was answered."""
        self.in_a_row = 0

    def heard(self, outcome: Outcome, probe: Probe) -> None:
        """Hear how an attempt ended; the last one of too many time-outs opens the circuit."""
        if outcome is Outcome.ANSWERED:
            self.answered()
        elif outcome is Outcome.TIMED_OUT and self._counts_up():
            logger.error(
                "%s timed out %d times in a row. Calls fail at once until it answers a probe.",
                self._service,
                TIMEOUTS,
            )
            telemetry.count("circuit", service=self._service, event="opened")
            if self._takes_probe() and not self._probes_behind(probe):
                self._end_probe(False)  # The call that comes when it is due will do it.

    def _counts_up(self) -> bool:
        """Count a time-out; True where it is the one that opens the circuit."""
        with self._lock:
            self.in_a_row += 1
            if self.is_open or self.in_a_row < TIMEOUTS:
                return False
            self.is_open = True
            return True

    def _takes_probe(self) -> bool:
        """Take the turn to probe, if nobody has it and it is time."""
        with self._lock:
            if not self.is_open or self._probing or self._clock() < self._next_probe:
                return False
            self._probing = True
            return True

    def _probes_behind(self, probe: Probe) -> bool:
        """Probe in a thread until there is an answer; False where none can be started."""
        try:
            self._start(lambda: self._probe_on(probe))
        except RuntimeError:
            return False
        return True

    def _probe_on(self, probe: Probe) -> None:
        answered = False
        try:
            while not answered and not self._forgotten:
                self._pause(PROBE_EVERY)
                answered = run_sync(_answers(probe))
        finally:
            self._end_probe(answered)

    async def _probe_once(self, probe: Probe) -> None:
        answered = False
        try:
            answered = await _answers(probe)
        finally:
            self._end_probe(answered)

    def _end_probe(self, answered: bool) -> None:
        with self._lock:
            self._probing = False
            self._next_probe = self._clock() + PROBE_EVERY
            if answered:
                self.is_open, self.in_a_row = False, 0
        if answered:
            logger.warning("%s answers again.", self._service)
            telemetry.count("circuit", service=self._service, event="closed")


async def _answers(probe: Probe) -> bool:
    try:
        with deadline.call(PROBE):
            return await probe() is Outcome.ANSWERED
    except deadline.OutOfTime:
        return False
