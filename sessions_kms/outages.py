"""What the log tells of an outage: each cause once, a count a minute, its end.

What was refused and what was served enter; lines of the log leave. Each request that is refused
has a line besides, without a traceback, by a logger of its own (`sessions_kms.refused`). The 503
itself is made by `middleware`.
"""

from __future__ import annotations

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
from sessions_kms.telemetry import telemetry

logger = logging.getLogger("sessions_kms")
lines = logging.getLogger("sessions_kms.refused")

TOLD_EVERY = 60.0  # seconds
QUIET = 10.0  # seconds without a refusal, after which a request that is served is the end
AT_HAND = 5.0  # seconds after a refusal, in which the next request would be refused as well
FRAMES = 8  # of a traceback, the last
REASON_LENGTH = 300  # characters
CAUSES_MAX = 8  # of one outage that are logged when they begin
LINES_MAX = 256  # different warnings that are remembered


class Outage:
    """One cause, by which requests are refused or are not."""

    def __init__(
        self,
        logger: logging.Logger,
        cause: str,
        what: str,
        clock: Callable[[], float] = monotonic,
        remedy: str = "",
    ) -> None:
        """Take what may be out of reach: a word for metrics, how a sentence begins, what to do."""
        self._cause = cause
        self._logger = logger
        self._what = what
        self._remedy = f" {remedy}" if remedy else ""
        self._clock = clock
        self._lock = Lock()
        self._goes_on = self._refused_last = False
        self._began = self._last = self._told = 0.0
        self._count = self._since = 0
        self._causes: set[str] = set()  # of this outage that were logged

    def refused(self, error: BaseException) -> None:
        """Count a request that was refused because of an error."""
        telemetry.count("refused", cause=self._cause)
        now, cause = self._clock(), cause_of(error)
        with self._lock:
            if not self._goes_on:
                self._goes_on, self._began, self._told = True, now, now
                self._count = self._since = 0
                self._causes.clear()
            self._last, self._refused_last = now, True
            self._count += 1
            self._since += 1
            since, seconds = self._since, now - self._told
            counts = seconds >= TOLD_EVERY
            if counts:
                self._since, self._told = 0, now
            is_new = self._is_new(_kind_of(error))
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
        """Return True if to log a cause that is new."""
        if kind in self._causes or len(self._causes) >= CAUSES_MAX:
            return False
        self._causes.add(kind)
        return True

    def served(self) -> None:
        """Hear of a request that needed what was out of reach and was served."""
        if not self._goes_on:
            return
        self._refused_last = False
        now = self._clock()
        with self._lock:
            if not self._goes_on or now - self._last < QUIET:
                return
            self._goes_on = False
            count, seconds = self._count, self._last - self._began
        self._logger.warning(
            "%s can be used again: %d requests were answered 503 in %d seconds.",
            self._what,
            count,
            seconds,
        )

    def is_at_hand(self) -> bool:
        """Return True if the last request that needed it was refused, moments ago."""
        return self._refused_last and self._clock() - self._last < AT_HAND


def cause_of(error: BaseException) -> str:
    """Return the first of the errors that led to this one, as a sentence in one line."""
    first = list(_chain(error))[-1]
    why = repr(str(first))[1:-1][:REASON_LENGTH]  # no line breaks
    return f"{type(first).__qualname__}: {why}".rstrip(".: ") + "."


def _kind_of(error: BaseException) -> str:
    """Return what tells the cause of an error from others.

    Threads and event loops word the same OSError differently. Numbers, such as times, differ too.
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
    """Yield an error and what it came from, as Python's own tracebacks tell it."""
    found: BaseException | None = error
    for _ in range(FRAMES):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


@dataclass
class _Logged:
    at: float
    left_out: int = 0


class OncePerMinute(logging.Filter):
    """Drops a line that equals one of the last minute: same logger, same level, same text.

    The next one that is logged ends with how many were left out. Lines below WARNING and lines with
    a traceback are never dropped. For a logger or a handler.
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
        """Return True if to log a record; its text is changed where others were left out."""
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        line = (record.name, record.levelno, record.getMessage())
        now = self._clock()
        with self._lock:
            logged = self._lines.pop(line, None)
            if logged is not None and now - logged.at < TOLD_EVERY:
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
DOCTOR = "`manage.py check_session_store` says what to do."
OUTAGES = {
    KMSUnavailable: Outage(logger, "kms", "AWS KMS", remedy=DOCTOR),
    TableUnavailable: Outage(logger, "table", "The session table", remedy=DOCTOR),
    StoreUnavailable: Outage(logger, "store", "The session store", remedy=DOCTOR),
}


def note(error: StoreUnavailable) -> None:
    """Note that a request is refused because of an error. A changed key is no outage."""
    if not isinstance(error, SessionMoved):
        next(known for kind, known in OUTAGES.items() if isinstance(error, kind)).refused(error)


def is_at_hand() -> bool:
    """Return True if this process could not use the store moments ago, and nobody could since.

    For who needs nothing of the store, and would be led to what does. A single session that nobody
    can open counts as well, until somebody else is served: so it is moments, and no more.
    """
    return any(outage.is_at_hand() for outage in OUTAGES.values())


def note_served(request: HttpRequest) -> None:
    """Note that a request was served, if the store was asked for its session."""
    session = getattr(request, "session", None)
    if session is not None and session.accessed and session.session_key is not None:
        for outage in OUTAGES.values():
            outage.served()


def log_refusal(request: HttpRequest, message: str, response: HttpResponse) -> None:
    """Log a refused request in a line.

    Django's own way: once, and with the path's control characters escaped, so that no visitor
    writes lines of the log.
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
    """Keeps Django from reporting as a failure, with its traceback, what is answered 503."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], StoreUnavailable))


logging.getLogger("django.request").addFilter(_IsNoFault())
# It warns of each failed renewal of a data key: in an outage, of several in a second.
of_data_keys = OncePerMinute()
logging.getLogger("sessions_kms.data_keys.cached_keyring").addFilter(of_data_keys)
