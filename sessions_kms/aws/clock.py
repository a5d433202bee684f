"""The engine's clock: this machine's, corrected by the `Date` of DynamoDB's responses.

Takes `Date` headers; returns epoch seconds. A machine whose clock is off by minutes would sign
everybody out, seal records that others reject, and sign requests that AWS rejects. This module does
not depend on the requests.
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

SAMPLES: Final = 5  # their median is the offset
IN_A_ROW: Final = 3  # must agree before the median counts
AGREEMENT: Final = 5.0  # seconds by which they may differ
GRAIN: Final = 1.0  # seconds: the resolution of a `Date`
REFUSED_FROM: Final = 60.0  # seconds off; AWS itself refuses at 300
OFFSET_MAX: Final = 7 * 24 * 3600  # seconds; beyond that no correction is trusted


class _Sample(NamedTuple):
    """The time in a response, and when it came by the monotonic clock."""

    clock: "ServerClock"
    moment: float
    received: float

    def allows(self, moment: float) -> bool:
        """Return True if a moment may have passed by now, by this response alone."""
        return moment <= self.moment + time.monotonic() - self.received + GRAIN


def system_time() -> float:
    """Return `time.time()`, looked up at each call: freezegun, for example, replaces it."""
    return time.time()


# Of this task or thread: the last response to another one proves nothing about its own.
_last_sample: ContextVar[_Sample | None] = ContextVar("sessions_kms_clock_sample", default=None)


class ServerClock:
    """The time of the server, by the local clock and its offset.

    The first response counts until there are more; then the median of the last five, as soon
    as three in a row agree. After the local clock was set, the next response is the first again.
    """

    def __init__(self, local: Callable[[], float] = system_time) -> None:
        self.local = local
        self.offset = 0.0  # seconds that the local clock is behind the server's
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        # What the local clock showed at the last response, less what the monotonic clock did.
        self._lead: float | None = None
        self._lock = threading.Lock()

    @property
    def is_synchronized(self) -> bool:
        """Return True after a response with a time, unless the local clock was set since then."""
        lead = self.local() - time.monotonic()
        return self._lead is not None and abs(lead - self._lead) <= REFUSED_FROM

    def __call__(self) -> float:
        """Return epoch seconds. Raises StoreUnavailable where the local clock is off by days."""
        if abs(self.offset) > OFFSET_MAX:
            raise StoreUnavailable("The clock of this machine is wrong by more than a week.")
        return self.local() + self.offset

    def observe(self, date: str | None) -> None:
        """Take the `Date` of a response that has just come."""
        moment, received = parse_date(date), time.monotonic()
        _last_sample.set(None if moment is None else _Sample(self, moment, received))
        if moment is None:
            return
        with self._lock:
            now, samples = self.local(), self._samples
            offset, lead, before = moment - now, now - received, self._lead
            self._lead = lead
            if before is not None and abs(lead - before) > REFUSED_FROM:
                samples.clear()
            if (
                len(samples) == SAMPLES
                and abs(offset - self.offset) <= GRAIN
                and abs(samples[-1] - self.offset) <= GRAIN
            ):
                return  # Nearly always: this response and the last one confirm the offset.
            samples.append(offset)
            agreed = self._agreed_offset()
            if agreed is not None and abs(agreed - self.offset) > GRAIN:
                former, self.offset = self.offset, agreed
                if abs(former) <= REFUSED_FROM < abs(agreed):
                    _warn(agreed)
        telemetry.measure("clock.offset", self.offset)

    def has_passed(self, moment: float) -> bool:
        """Return True if a moment has passed by this clock and by this task's last response alone.

        A wrong offset must not end a session.
        """
        if moment > self():
            return False
        last = _last_sample.get()
        return last is None or last.clock is not self or last.allows(moment)

    def _agreed_offset(self) -> float | None:
        """Return the offset that the samples show; None where the last ones do not agree."""
        if len(self._samples) == 1:
            return self._samples[0]
        last = list(self._samples)[-IN_A_ROW:]
        if len(last) < IN_A_ROW or max(last) - min(last) > AGREEMENT:
            return None
        return _median(self._samples)


def _median(values: Collection[float]) -> float:
    """Return the median; importing `statistics` would take 2 ms."""
    ordered, half = sorted(values), len(values) // 2
    return (ordered[half] + ordered[~half]) / 2


def _warn(offset: float) -> None:
    """Log a wrong clock, once until it is right again; otherwise nobody would notice."""
    logger.warning(
        "This machine's clock is %.0f s %s AWS's. Synchronize it by NTP. Until then, sessions and"
        " tokens use AWS's clock.",
        abs(offset),
        "behind" if offset > 0 else "ahead of",
    )


@lru_cache(maxsize=16)  # Many responses come in one second.
def parse_date(date: str | None) -> float | None:
    """Return the epoch seconds of a `Date` (RFC 9110 section 5.6.7): the middle of its second."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp() + GRAIN / 2
    except (TypeError, ValueError, OverflowError):
        return None


def local_clock(clock: Callable[[], float]) -> Callable[[], float]:
    """Return the clock to measure ages with: a correction must not make anything older."""
    return clock.local if isinstance(clock, ServerClock) else clock


def has_passed(clock: Callable[[], float], moment: float) -> bool:
    """Return True if a moment has passed; a `ServerClock` also needs this task's last response."""
    return clock.has_passed(moment) if isinstance(clock, ServerClock) else moment <= clock()


# Requests are signed by the same clock: AWS rejects signatures that are five minutes off.

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
    """Return the offset that would have made this task's last signature, now rejected, right.

    None where its time was right: then AWS rejected it for something else.
    """
    moment, signed_at = parse_date(date), _signed_at.get()
    if moment is None or signed_at is None or abs(moment - signed_at) <= REFUSED_FROM:
        return None
    return moment - clock.local()


_current = ServerClock()


def current_clock() -> ServerClock:
    """Return the process's clock: requests are signed by it, and DynamoDB's responses set it."""
    return _current


def set_clock(clock: ServerClock) -> None:
    """Replace the process's clock."""
    global _current  # noqa: PLW0603 - one per process, as the clients are
    _current = clock
