"""Logging of outages: each cause once, a count every minute, and the end.

Each rejected request also has its own line, without a traceback, in a separate logger
(`sessions_kms.refused`). `middleware` returns the 503 itself.
"""

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic

from django.http import HttpRequest, HttpResponse
from django.utils.log import log_response

from sessions_kms.exceptions import (
    KMSUnavailable,
    SessionMoved,
    StoreUnavailable,
    TableUnavailable,
)
from sessions_kms.hints import command
from sessions_kms.telemetry import telemetry

logger = logging.getLogger("sessions_kms")
lines = logging.getLogger("sessions_kms.refused")

LOG_INTERVAL = 60.0  # seconds
QUIET = 10.0  # seconds without a rejection, after which a served request ends the outage
AT_HAND = 5.0  # seconds after a rejection in which the next request would be rejected as well
FRAMES = 8  # the last ones of a traceback
REASON_LENGTH = 300  # characters
CAUSES_MAX = 8  # of one outage that are logged
LINES_MAX = 256  # different warnings that are remembered


class Outage:
    """One possible cause of rejected requests."""

    def __init__(
        self,
        logger: logging.Logger,
        cause: str,
        what: str,
        clock: Callable[[], float] = monotonic,
        remedy: str = "",
    ) -> None:
        """Set the cause (for metrics), the subject of log messages, and the remedy."""
        self._cause = cause
        self._logger = logger
        self._what = what
        self._remedy = f" {remedy}" if remedy else ""
        self._clock = clock
        self._lock = Lock()
        self._is_ongoing = self._refused_last = False
        self._began = self._last = self._logged_at = 0.0
        self._count = self._since = 0
        self._causes: set[str] = set()  # of this outage, logged already

    def refused(self, error: BaseException) -> None:
        """Count a request that was rejected because of an error."""
        telemetry.count("refused", cause=self._cause)
        now, cause = self._clock(), cause_of(error)
        with self._lock:
            if not self._is_ongoing:
                self._is_ongoing, self._began, self._logged_at = True, now, now
                self._count = self._since = 0
                self._causes.clear()
            self._last, self._refused_last = now, True
            self._count += 1
            self._since += 1
            since, seconds = self._since, now - self._logged_at
            counts = seconds >= LOG_INTERVAL
            if counts:
                self._since, self._logged_at = 0, now
            is_new = self._is_new(_classify(error))
        if counts:
            self._logger.error(
                "%s %s cannot be used: %d requests were answered 503 in the last %d seconds.",
                cause, self._what, since, seconds,
            )  # fmt: skip
        elif is_new:
            self._logger.error(
                "%s %s cannot be used: requests are answered 503.%s %s",
                cause, self._what, self._remedy, traceback_of(error),
            )  # fmt: skip

    def _is_new(self, kind: str) -> bool:
        """Return True if a cause is new and should be logged."""
        if kind in self._causes or len(self._causes) >= CAUSES_MAX:
            return False
        self._causes.add(kind)
        return True

    def served(self) -> None:
        """Note a request that needed the service and was served."""
        if not self._is_ongoing:
            return
        self._refused_last = False
        now = self._clock()
        with self._lock:
            if not self._is_ongoing or now - self._last < QUIET:
                return
            self._is_ongoing = False
            count, seconds = self._count, self._last - self._began
        self._logger.warning(
            "%s can be used again: %d requests were answered 503 in %d seconds.",
            self._what,
            count,
            seconds,
        )

    def is_at_hand(self) -> bool:
        """Return True if the last request that needed it was rejected recently."""
        return self._refused_last and self._clock() - self._last < AT_HAND


def cause_of(error: BaseException) -> str:
    """Return the first of the errors that led to this one, as a sentence in one line."""
    first = list(_chain(error))[-1]
    why = repr(str(first))[1:-1][:REASON_LENGTH]  # no line breaks
    return f"{type(first).__qualname__}: {why}".rstrip(".: ") + "."


def _classify(error: BaseException) -> str:
    """Return a text that is equal for errors with the same cause.

    Threads and event loops word the same OSError differently; numbers, such as times, vary.
    """
    first = list(_chain(error))[-1]
    if isinstance(first, OSError) and first.errno is not None:
        return f"{type(first).__qualname__} {first.errno}"
    return re.sub(r"\d+(\.\d+)?", "", cause_of(error))


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error in a line, with the errors that led to it.

    A log is read by lines: one that fills a screen hides those around it.
    """
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    path = ", ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames)
    kinds = " from ".join(type(each).__qualname__ for each in _chain(error))
    return f"Traceback (most recent call last): {path}. {kinds}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, as Python's tracebacks show them."""
    current: BaseException | None = error
    for _ in range(FRAMES):
        if current is None:
            return
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


@dataclass
class _Logged:
    at: float
    left_out: int = 0


class OncePerMinute(logging.Filter):
    """Drops a line that equals one of the last minute: same logger, same level, same text.

    The next one that is logged ends with the number of dropped ones. Lines below WARNING and lines
    with a traceback are never dropped. For a logger or a handler.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._lines: dict[tuple[str, int, str], _Logged] = {}

    def forget(self) -> None:
        """Log every line anew."""
        self._lines.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True to log a record; append the number of dropped ones to its text."""
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        line = (record.name, record.levelno, record.getMessage())
        now = self._clock()
        with self._lock:
            logged = self._lines.pop(line, None)
            if logged is not None and now - logged.at < LOG_INTERVAL:
                logged.left_out += 1
                self._lines[line] = logged
                return False
            self._lines[line] = _Logged(now)
            if len(self._lines) > LINES_MAX:
                del self._lines[next(iter(self._lines))]
        if logged is not None and logged.left_out:
            seconds = round(now - logged.at)
            record.msg = f"{line[2]} ({logged.left_out} more like it in {seconds} seconds.)"
            record.args = None
        return True


# In the order in which an error is looked up.
DOCTOR = f"`{command('check_session_store')}` says what to do."
OUTAGES = {
    KMSUnavailable: Outage(logger, "kms", "AWS KMS", remedy=DOCTOR),
    TableUnavailable: Outage(logger, "table", "The session table", remedy=DOCTOR),
    StoreUnavailable: Outage(logger, "store", "The session store", remedy=DOCTOR),
}


def note(error: StoreUnavailable) -> None:
    """Note that a request is rejected because of an error. A changed key is no outage."""
    if not isinstance(error, SessionMoved):
        next(known for kind, known in OUTAGES.items() if isinstance(error, kind)).refused(error)


def is_at_hand() -> bool:
    """Return True if this process could not use the store a few seconds ago, nor since.

    For pages that need no session but link to ones that do. A single session that cannot be loaded
    counts as well, until another request is served; therefore the period is short.
    """
    return any(outage.is_at_hand() for outage in OUTAGES.values())


def note_served(request: HttpRequest) -> None:
    """Note that a request was served, if its session was loaded."""
    session = getattr(request, "session", None)
    if session is not None and session.accessed and session.session_key is not None:
        for outage in OUTAGES.values():
            outage.served()


def log_refusal(request: HttpRequest, message: str, response: HttpResponse) -> None:
    """Log a refused request in one line.

    Uses Django's function, which logs it once, with control characters of the path escaped, so that
    visitors cannot forge log lines.
    """
    log_response(
        "%s %s: %s",
        request.method,
        request.path,
        message,
        response=response,
        request=request,
        logger=lines,
    )


class _IsNoFault(logging.Filter):
    """Drops Django's report, with a traceback, of an error that was answered with 503."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], StoreUnavailable))


logging.getLogger("django.request").addFilter(_IsNoFault())
# It warns of each failed renewal of a data key: in an outage, of several in a second.
of_data_keys = OncePerMinute()
logging.getLogger("sessions_kms.data_keys.cached_keyring").addFilter(of_data_keys)
