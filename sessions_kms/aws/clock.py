"""The engine's clock: this machine's, corrected by what DynamoDB's answers say that it is.

The `Date` of answers enters; epoch seconds leave. A machine whose clock is off by minutes
would sign everybody out, seal records that others refuse, and sign requests that AWS
refuses. Knows nothing of what was asked.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, NamedTuple

from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.telemetry import telemetry

logger = logging.getLogger(__name__)

SAMPLES: Final = 5  # whose median counts
IN_A_ROW: Final = 3  # that must agree before it does
AGREEMENT: Final = 5.0  # seconds that they may differ by
GRAIN: Final = 1.0  # seconds: a `Date` tells no more than whole ones
REFUSED_FROM: Final = 60.0  # seconds off; AWS itself refuses at 300
OFFSET_MAX: Final = 7 * 24 * 3600  # seconds beyond which nothing can be told


class _Said(NamedTuple):
    """What an answer said, to whom, and when by a clock that nobody sets."""

    clock: "ServerClock"
    moment: float
    heard: float

    def allows(self, moment: float) -> bool:
        """Tell whether it may be so late by now, by this answer alone."""
        return moment <= self.moment + time.monotonic() - self.heard + GRAIN


# Of this task, or of this thread: who asks for others, in a loop, is no witness of theirs.
_said: ContextVar[_Said | None] = ContextVar("sessions_kms_said", default=None)


class ServerClock:
    """Gives the time of the server that it hears, by a local clock and its offset.

    The first answer counts until there are more; then the median of the last five, as soon
    as three in a row agree.
    """

    def __init__(self, local: Callable[[], float] = time.time) -> None:
        self.local = local
        self.offset = 0.0  # seconds that the local clock is behind the server's
        self._heard: deque[float] = deque(maxlen=SAMPLES)
        self._lock = threading.Lock()

    @property
    def has_heard(self) -> bool:
        """Tell whether it has heard what time it is at all."""
        return bool(self._heard)

    def __call__(self) -> float:
        """Return epoch seconds. Raises StoreUnavailable where the local clock is off by days."""
        if abs(self.offset) > OFFSET_MAX:
            raise StoreUnavailable("The clock of this machine is wrong by more than a week.")
        return self.local() + self.offset

    def hear(self, date: str | None) -> None:
        """Hear the `Date` of an answer that has just come."""
        moment = moment_of(date)
        _said.set(None if moment is None else _Said(self, moment, time.monotonic()))
        if moment is None:
            return
        with self._lock:
            offset = moment - self.local()
            if self._says_the_same(offset):
                return
            self._heard.append(offset)
            believed = self._believed()
            if believed is not None and abs(believed - self.offset) > GRAIN:
                was, self.offset = self.offset, believed
                if abs(was) <= REFUSED_FROM < abs(believed):
                    _tell(believed)
        telemetry.measure("clock.offset", self.offset)

    def has_passed(self, moment: float) -> bool:
        """Tell whether it is so late, by this clock and by the last answer of this task alone.

        One who is asked whether a session has ended must not believe an offset that is wrong.
        """
        said = _said.get()
        return moment <= self() and (said is None or said.clock is not self or said.allows(moment))

    def _says_the_same(self, offset: float) -> bool:
        """Tell whether an answer shows what is believed, as the last one did: nearly each does."""
        return (
            len(self._heard) == SAMPLES
            and abs(offset - self.offset) <= GRAIN
            and abs(self._heard[-1] - self.offset) <= GRAIN
        )

    def _believed(self) -> float | None:
        """Return the offset that the answers show; None where the last ones do not agree."""
        if len(self._heard) == 1:
            return self._heard[0]
        last = list(self._heard)[-IN_A_ROW:]
        if len(last) < IN_A_ROW or max(last) - min(last) > AGREEMENT:
            return None
        return _median(self._heard)


def _median(values: Collection[float]) -> float:
    """Return the middle one, or the mean of both; `statistics` takes 2 ms to be imported."""
    ordered, half = sorted(values), len(values) // 2
    return (ordered[half] + ordered[~half]) / 2


def _tell(offset: float) -> None:
    """Log, once until it is right again, what nobody would notice: the engine makes up for it."""
    logger.warning(
        "This machine's clock is %.0f s %s AWS's. Set it by NTP. Sessions and tokens go by AWS's"
        " clock meanwhile.",
        abs(offset),
        "behind" if offset > 0 else "ahead of",
    )


@lru_cache(maxsize=16)  # Many answers come in one second.
def moment_of(date: str | None) -> float | None:
    """Return the epoch seconds of a `Date` (RFC 9110 section 5.6.7): the middle of its second."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp() + GRAIN / 2
    except (TypeError, ValueError, OverflowError):
        return None


def local_of(clock: Callable[[], float]) -> Callable[[], float]:
    """Return the clock to measure ages by: no correction makes anything older."""
    return clock.local if isinstance(clock, ServerClock) else clock


def has_passed(clock: Callable[[], float], moment: float) -> bool:
    """Tell whether a moment has passed, as surely as a clock can."""
    return clock.has_passed(moment) if isinstance(clock, ServerClock) else moment <= clock()


# Requests are signed by the same clock: AWS refuses what is signed five minutes off.

_signed_at: ContextVar[float | None] = ContextVar("sessions_kms_signed_at", default=None)
_signing_offset: ContextVar[float | None] = ContextVar("sessions_kms_signing_offset", default=None)


@contextmanager
def signing_with(offset: float) -> Iterator[None]:
    """Sign requests by the local clock and this offset."""
    token = _signing_offset.set(offset)
    try:
        yield
    finally:
        with suppress(ValueError):  # An abandoned coroutine is closed in any context.
            _signing_offset.reset(token)


def signing_time(clock: ServerClock) -> float:
    """Return the epoch seconds to sign a request with, however far off the local clock is."""
    offset = _signing_offset.get()
    moment = clock.local() + (clock.offset if offset is None else offset)
    _signed_at.set(moment)
    return moment


def offset_if_refused(clock: ServerClock, date: str | None) -> float | None:
    """Return the offset by which this task's last signature, now refused, would have been right.

    None where it was right: then it is not the time that it was refused for.
    """
    moment, signed_at = moment_of(date), _signed_at.get()
    if moment is None or signed_at is None or abs(moment - signed_at) <= REFUSED_FROM:
        return None
    return moment - clock.local()
