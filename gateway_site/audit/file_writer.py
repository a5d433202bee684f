"""The queue of a process's events, and the thread that writes them.

A call reserves a place before it is made, so that its event is never the one for which there is no
room. If the file cannot be written, the thread tries again every second. A disk that hangs returns
no error: so the log also counts as failing while the oldest unwritten event is too old.
"""

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Final, Protocol

from django.conf import settings

from gateway_site.audit.audit_file import AuditFile
from gateway_site.audit.chain import Chain
from gateway_site.audit.checkpoint import INTERVAL, RETRY, Checkpoints, try_to
from gateway_site.audit.event import DROPPED, REPEATED, Event, make_event
from gateway_site.edge.http_metrics import gateway
from gateway_site.edge.reports import Tally

logger = logging.getLogger(__name__)

QUEUE_MAX: Final = 10_000  # events, with those of calls that are being made
SPARE: Final = 1_000  # places for other events, which cannot be rejected
BATCH_MAX: Final = 500  # events in one write
# Seconds that the thread waits for more events, unless they fill a batch: one write of ten events
# takes much less CPU time than ten. A process that is killed loses these events.
GATHER_TIME: Final = 0.005
RETRY_WRITE: Final = 1.0  # seconds
AGE_MAX: Final = 5.0  # seconds that an event may wait before the log counts as failing
STOP_TIME: Final = 5.0  # seconds that the end of a process waits
STOP_STEP: Final = 0.1  # seconds between two looks at whether it is worth while

CANNOT_WRITE: Final = "The audit log cannot be written: %s."
CAN_WRITE: Final = "The audit log can be written again."
_lost = Tally(logger, "%d events are missing from the audit log: its queue was full.")


class Sink(Protocol):
    """Where batches of events go; called in the queue's thread."""

    def write(self, events: list[Event]) -> bool:
        """Write events after those that failed before; return False if some are not written."""

    def pause(self) -> float | None:
        """Do what is due; return the seconds until something is due, None for never."""

    def close(self) -> None:
        """Do what belongs to the end."""


class EventQueue:
    """The events that are not written yet. ``clock`` returns epoch seconds."""

    def __init__(self, sink: Sink, *, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._clock = clock
        self._changed = threading.Condition()
        self._events: deque[tuple[float, Event]] = deque()  # with when they were added
        self._writing_since: float | None = None  # when the oldest one was added that is written
        self._reserved = 0
        self._lost = 0
        self._is_failing = self._is_closing = False
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None

    def reserve(self) -> bool:
        """Reserve a place for an event; return False if no more calls should be made now."""
        with self._changed:
            is_failing = self._is_failing or self._is_overdue()
            if is_failing or len(self._events) + self._reserved >= QUEUE_MAX:
                return False
            self._reserved += 1
            return True

    def reserve_another(self) -> None:
        """Reserve a place for another event of a call that has one."""
        with self._changed:
            self._reserved += 1

    def add(self, event: Event, *, reserved: bool = False) -> None:
        """Add an event; if there is no room, count it as lost."""
        with self._changed:
            if reserved:
                self._reserved -= 1
            elif len(self._events) + self._reserved >= QUEUE_MAX + SPARE:
                self._lost += 1
                gateway.count("audit.lost")
                _lost.add()
                return
            self._events.append((monotonic(), event))
            self._changed.notify()
        if self._thread is None:
            self.start()

    def start(self) -> None:
        """Start the threads, unless they run."""
        with self._changed:
            if self._thread is None and not self._is_closing:
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()
                threading.Thread(target=self._watch, name="audit-watch", daemon=True).start()

    def close(self, seconds: float = STOP_TIME) -> None:
        """Write everything and end the thread; log what could not be written in time.

        Does not wait for a disk that hangs.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        end = monotonic() + seconds
        while self._thread and self._thread.is_alive() and monotonic() < end:
            if self._is_overdue():
                break
            self._thread.join(STOP_STEP)
        self._has_ended.set()
        is_writing = self._writing_since is not None
        if self._events or self._lost or self._is_failing or is_writing:
            logger.error("The audit log is incomplete: its last events could not be written.")

    def _run(self) -> None:
        while True:
            due = self._sink.pause()
            events = self._take(due)
            is_over = self._is_closing and not events
            if not self._write(events) or is_over:
                break
        self._sink.close()

    def _take(self, due: float | None) -> list[Event]:
        """Wait for events; return some of them, or none if something else is due."""
        with self._changed:
            if not self._events and not self._is_closing:
                self._changed.wait(due)
            gathers = 0 < len(self._events) < BATCH_MAX and not self._is_closing
        if gathers:
            sleep(GATHER_TIME)
        with self._changed:
            taken = [self._events.popleft() for _ in range(min(len(self._events), BATCH_MAX))]
            self._writing_since = taken[0][0] if taken else None
            events = [event for _, event in taken]
            if self._lost:
                events.append(make_event(DROPPED, self._clock(), events=self._lost))
                self._lost = 0
            return events

    def _write(self, events: list[Event]) -> bool:
        """Write events, however often it takes; return False if the process ends before."""
        is_written = self._sink.write(events)
        while not is_written:
            with self._changed:
                self._is_failing = True
                if self._is_closing:
                    return False
                self._changed.wait_for(lambda: self._is_closing, RETRY_WRITE)
            is_written = self._sink.write([])
        with self._changed:
            self._is_failing, self._writing_since = False, None
        return True

    def _is_overdue(self) -> bool:
        """Return True if the oldest unwritten event is too old."""
        with self._changed:
            waiting = self._events[0][0] if self._events else None
            oldest = waiting if self._writing_since is None else self._writing_since
            return oldest is not None and monotonic() - oldest > AGE_MAX

    def _watch(self) -> None:
        """Log and count a write that hangs, and so returns no error that could be counted."""
        is_logged = False
        while not self._has_ended.wait(RETRY_WRITE):
            is_overdue = self._is_overdue()
            if is_overdue and not self._is_failing:
                gateway.count("audit.failures", step="write")
                if not is_logged:
                    logger.error(
                        CANNOT_WRITE, f"an event has waited for over {AGE_MAX:.0f} seconds"
                    )
                is_logged = True
            elif is_logged and not is_overdue:
                logger.warning(CAN_WRITE)
                is_logged = False


class FileSink:
    """Writes events as a chain to the file, with checkpoints. ``clock`` returns epoch seconds.

    The first events are written with the first checkpoint: a process that is killed in between
    leaves nothing that no checkpoint authenticates.
    """

    def __init__(
        self,
        file: AuditFile,
        chain: Chain,
        checkpoints: Checkpoints,
        clock: Callable[[], float],
    ) -> None:
        self._file = file
        self._chain = chain
        self._checkpoints = checkpoints
        self._clock = clock
        self._unwritten = b""
        self._first_unwritten = 1  # its number
        self._is_failing = False
        self._has_tried_checkpoint = False
        self._next = monotonic()  # when the next checkpoint is due

    def write(self, events: list[Event]) -> bool:
        """Append events, after those that could not be written before.

        These are named, since the failed write may have left them.
        """
        before = self._chain.number, self._chain.digest, self._unwritten
        if self._is_failing:
            named = {"first": self._first_unwritten, "last": self._chain.number}
            self._add(self._chain.link(make_event(REPEATED, self._clock(), **named)))
        for event in events:
            self._add(self._chain.link(event))
        if not self._has_tried_checkpoint:
            return True
        try:
            if self._unwritten:
                self._file.append(self._unwritten)
        except OSError as error:
            if not self._is_failing:
                why = f"{self._file.path}: {error.strerror}. {_remedy(error)} {_what_follows()}"
                logger.error(CANNOT_WRITE, why)  # noqa: TRY400 - no traceback is needed
            gateway.count("audit.failures", step="write")
            self._is_failing = True
            if not events and not self._file.may_have_left:
                self._chain.number, self._chain.digest, self._unwritten = before
            return False
        if self._is_failing:
            logger.warning(CAN_WRITE)
        self._is_failing, self._unwritten = False, b""
        return True

    def pause(self) -> float | None:
        """Make a checkpoint if one is due; return the seconds until the next one."""
        if self._chain.number and monotonic() >= self._next:
            self._next = monotonic() + (INTERVAL if self._checkpoint(is_last=False) else RETRY)
        return max(0.0, self._next - monotonic())

    def close(self) -> None:
        """Make the last checkpoint."""
        if self._chain.number and not self._is_failing:
            self._checkpoint(is_last=True)
        self._file.close()

    def _checkpoint(self, *, is_last: bool) -> bool:
        """Make a checkpoint; return False if another attempt is needed."""
        made: list[bytes] = []
        is_signed = try_to("sign", lambda: made.append(self._checkpoints.make(is_last=is_last)))
        self._has_tried_checkpoint = True
        if not is_signed:
            self.write([])
            return False
        self._add(made[0])
        if not self.write([]) or not try_to("write", self._file.sync):
            return False
        return try_to("store", lambda: self._checkpoints.store(made[0]))

    def _add(self, line: bytes) -> None:
        """Add a line to those that are not written."""
        if not self._unwritten:
            self._first_unwritten = self._chain.number + 1
        self._unwritten += self._chain.add(line)


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Free space on that disk."
    return "Let the user of this process write it, or set AUDIT_FILE to another file."


def _what_follows() -> str:
    if getattr(settings, "AUDIT_ON_FULL", None) == "reject":
        return "Until it can be written, calls get 503"
    return "Until it can be written, events are lost once the queue is full"
