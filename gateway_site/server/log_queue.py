"""What a server writes to standard error and output, queued for a thread that writes it.

The reader of a log can stop: a full disk, a stuck collector, a paused terminal. A write then blocks
its thread, and in the event loop all requests. Here only the queue's thread waits. What does not
fit into the queue is dropped and counted, and the log has the count as soon as it is read again.

`start` replaces `sys.stderr` and `sys.stdout` instead of the handlers of loggers, because Python
writes warnings and tracebacks there too. Handlers format records before they write them.
"""

import atexit
import io
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, BinaryIO, Final, TextIO, cast

from gateway_site.server import logs_json

logger = logging.getLogger(__name__)

RECORDS_MAX = 10_000
BYTES_MAX = 8 * 1024 * 1024
# Bytes of one write, or one record. So many are written together even if others write to the pipe.
# https://pubs.opengroup.org/onlinepubs/9799919799/functions/write.html
BATCH_MAX: Final = select.PIPE_BUF
# Seconds that the thread waits for more records, unless they fill a batch. Waking it for each
# record cost 6 % of a call's CPU time.
GATHER_TIME: Final = 0.02
STOP_TIME: Final = 1.0  # seconds that the end of a process waits
MISSING: Final = "%d records are missing from the log: it was not read fast enough."
TEXT: Final = "%(asctime)s %(levelname)s %(name)s [-] %(message)s"  # as in the settings


class LogQueue:
    """The records for one file descriptor that are not written yet."""

    def __init__(self, descriptor: int, formatter: logging.Formatter) -> None:
        self._descriptor = descriptor
        self._formatter = formatter
        self._reset()
        os.register_at_fork(after_in_child=self._reset_in_child)

    def _reset(self) -> None:
        # Reentrant: the garbage collector may run a finalizer that writes while this is held.
        self._changed = threading.Condition(threading.RLock())
        self._records: deque[bytes] = deque()
        self._size = self._dropped = 0
        self._is_writing = self._is_within_line = False
        self._deadline: float | None = None  # once the process ends
        self._thread: threading.Thread | None = None

    def _reset_in_child(self) -> None:
        """Start anew: the parent writes what was queued before.

        A child ends with `os._exit`, which runs no function of `atexit`: each write waits.
        """
        self._reset()
        self._deadline = threading.TIMEOUT_MAX

    def put(self, record: bytes) -> None:
        """Queue a record, or count it as dropped. Waits only while the process ends."""
        if sys.is_finalizing():
            self._write_without_thread(record)
            return
        with self._changed:
            if len(self._records) >= RECORDS_MAX or self._size + len(record) > BYTES_MAX:
                self._dropped += 1
                return
            self._records.append(record)
            self._size += len(record)
            if self._thread is None:
                self._start_thread()
            self._changed.notify_all()
        self.wait()

    def end_by(self, deadline: float) -> None:
        """Have each write wait from now on until all is written, or until the deadline."""
        with self._changed:
            if self._deadline is None or deadline < self._deadline:
                self._deadline = deadline

    def wait(self) -> None:
        """Wait until all is written, if the process ends, and not beyond the deadline."""
        if self._deadline is None or sys.is_finalizing():
            return
        if threading.current_thread() is self._thread:
            return
        with self._changed:
            self._changed.wait_for(
                lambda: not self._records and not self._is_writing, self._deadline - monotonic()
            )

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread is left, or the interpreter ends: try at the next record
            self._thread = None

    def _run(self) -> None:
        while True:
            records, missing = self._take()
            lost = 0 if self._write(b"".join(records)) else len(records)
            if lost or not self._write(self._report(missing)):
                lost += missing
            with self._changed:
                self._dropped += lost
                self._is_writing = False
                self._changed.notify_all()

    def _take(self) -> tuple[list[bytes], int]:
        """Wait for records; return the next ones, and how many were dropped until now."""
        self._wait_for_records()
        with self._changed:
            taken = [self._records.popleft()]
            size = len(taken[0])
            while self._records and size + len(self._records[0]) <= BATCH_MAX:
                taken.append(self._records.popleft())
                size += len(taken[-1])
            self._size -= size
            self._is_writing = True
            missing, self._dropped = self._dropped, 0
            return taken, missing

    def _wait_for_records(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._records))
            is_full = self._size >= BATCH_MAX
        if not is_full and self._deadline is None:
            sleep(GATHER_TIME)

    def _report(self, missing: int) -> bytes:
        """Return the line that says how many records are missing; nothing if none is."""
        if not missing:
            return b""
        record = logger.makeRecord(logger.name, logging.WARNING, "", 0, MISSING, (missing,), None)
        return self._formatter.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _write(self, data: bytes) -> bool:
        """Write everything, however long it takes; return False if that fails."""
        rest = memoryview(b"\n" + data if self._is_within_line else data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
                self._is_within_line = bool(rest)
            except BlockingIOError:  # another program has made the descriptor non-blocking
                select.select([], [self._descriptor], [], STOP_TIME)
            except OSError:  # a closed pipe, a full disk
                return False
        return True

    def _write_without_thread(self, record: bytes) -> None:
        """Write a record until the deadline, unless others are before it.

        At the end of the interpreter, destructors write. The thread no longer runs then, and may
        hold the lock.
        """
        if self._records or self._is_writing or self._deadline is None:
            return
        rest = memoryview(record)
        with suppress(OSError):
            while rest:
                seconds = max(0.0, self._deadline - monotonic())
                if not select.select([], [self._descriptor], [], seconds)[1]:
                    return
                rest = rest[os.write(self._descriptor, rest[:BATCH_MAX]) :]


class QueuedStream(io.TextIOWrapper):
    """A text stream whose lines are queued; the descriptor is that of the stream it replaces.

    `print` and tracebacks write a line in parts: as records of their own, some could be dropped, or
    written after the line of another process.
    """

    def __init__(self, replaced: TextIO, formatter: logging.Formatter) -> None:
        self.queue = LogQueue(replaced.fileno(), formatter)
        name = getattr(replaced, "name", "")
        raw = cast("BinaryIO", _QueuedFile(self.queue, replaced.fileno(), name))
        super().__init__(
            raw, encoding=replaced.encoding, errors=replaced.errors, line_buffering=True
        )


class _QueuedFile(io.RawIOBase):
    """The bytes of a stream."""

    def __init__(self, queue: LogQueue, descriptor: int, name: str) -> None:
        super().__init__()
        self.name = name
        self._queue = queue
        self._descriptor = descriptor

    def write(self, data: Any) -> int:
        record = bytes(data)
        self._queue.put(record)
        return len(record)

    def flush(self) -> None:
        self._queue.wait()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


def start() -> None:
    """Queue what this process writes from now on, also by handlers that exist. May be repeated."""
    formatter = _make_formatter()
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or isinstance(stream, QueuedStream):
            continue
        with suppress(OSError):  # no file: a program that embeds this one has replaced it
            stream.fileno()
            stream.flush()
            queued = QueuedStream(stream, formatter)
            setattr(sys, name, queued)
            for handler in _stream_handlers():
                if handler.stream is stream:
                    handler.setStream(queued)


def finish() -> None:
    """Wait until all is written, at most a second; so does what is written after this.

    A server that is ended by SIGTERM sends itself that signal again once it has stopped, so that
    nothing would write what is still queued.
    """
    deadline = monotonic() + STOP_TIME
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, QueuedStream)]
    for stream in streams:
        stream.queue.end_by(deadline)
    for stream in streams:
        with suppress(ValueError):  # somebody has closed it
            stream.flush()
        stream.queue.wait()


def _make_formatter() -> logging.Formatter:
    if not logs_json():
        return logging.Formatter(TEXT)
    from gateway_site.edge import json_log  # noqa: PLC0415 - it imports much of Django

    return json_log.JSONFormatter()


def _stream_handlers() -> Iterator[logging.StreamHandler[TextIO]]:
    for each in [logging.getLogger(), *logging.root.manager.loggerDict.values()]:
        for handler in each.handlers if isinstance(each, logging.Logger) else ():
            if isinstance(handler, logging.StreamHandler):
                yield handler


atexit.register(finish)
