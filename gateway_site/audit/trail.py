"""The audit log of this process: whether it is on, and where its events go.

Events go to the file (`AUDIT_FILE`), to the log (`AUDIT_LOG`), and to receivers of `audit_event`.
Without any of these, nothing is recorded and no thread is started.
"""

import atexit
import logging
import os
import socket
import threading
from time import time
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.dispatch import Signal

from gateway_site.audit.audit_file import AuditFile
from gateway_site.audit.chain import Chain
from gateway_site.audit.checkpoint import Checkpoints
from gateway_site.audit.event import STARTED, Event, encode, make_event
from gateway_site.audit.file_writer import EventQueue, FileSink
from gateway_site.edge import access_log
from sessions_kms.conf import config
from sessions_kms.operations.audit_writers import AuditWriters
from sessions_kms.services import services

logger = logging.getLogger("gateway_site.audit")

# event: a dict. Receivers are called one after the other, in a thread of their own.
audit_event = Signal()


class Sinks:
    """The file, the log and the receivers."""

    def __init__(self, file: FileSink | None) -> None:
        self._file = file

    def write(self, events: list[Event]) -> bool:
        """Write events to the file; hand them once to the log and the receivers."""
        is_written = self._file is None or self._file.write(events)
        if settings.AUDIT_LOG:
            for event in events:
                logger.info("%s", encode(event).decode("ascii"))
        if events and audit_event.receivers:
            close_old_connections()
            for event in events:
                audit_event.send_robust(sender=None, event=event)
            close_old_connections()
        return is_written

    def pause(self) -> float | None:
        """Let the file make its checkpoints."""
        return None if self._file is None else self._file.pause()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Trail:
    """The events of one process."""

    def __init__(self) -> None:
        file = _make_file_sink()
        self.rejects = file is not None and settings.AUDIT_ON_FULL == "reject"
        self.queue = EventQueue(Sinks(file), clock=time)
        if file is not None:
            program = {"host": socket.gethostname(), "process": os.getpid()}
            namespace = config().namespace
            self.queue.add(make_event(STARTED, time(), namespace=namespace, **program))


_trail: Trail | None = None
_creating = threading.Lock()


def is_configured() -> bool:
    """Return True if the settings ask for a log; a project that uses the app may have none."""
    return any(getattr(settings, name, None) for name in ("AUDIT_FILE", "AUDIT_LOG"))


def is_on() -> bool:
    """Return True if events are recorded."""
    return bool(audit_event.receivers) or is_configured()


def trail() -> Trail:
    """Return this process's trail, which starts with the first event."""
    global _trail  # noqa: PLW0603 - one per process
    with _creating:
        if _trail is None:
            _trail = Trail()
            atexit.register(close)
        return _trail


def record(name: str, **fields: Any) -> None:
    """Record an event of the request that is served, if there is one."""
    if is_on():
        request = access_log.current_entry()
        request_id = None if request is None else request.id
        trail().queue.add(make_event(name, time(), request=request_id, **fields))


def start() -> None:
    """Write the first event and checkpoint, so that this process is known from its start."""
    if getattr(settings, "AUDIT_FILE", None):
        trail()


def close() -> None:
    """Write what is left, and the last checkpoint."""
    global _trail
    ended, _trail = _trail, None
    if ended is not None:
        ended.queue.close()


def _forget() -> None:
    global _trail, _creating  # a forked child has its own chain, and no threads
    _trail, _creating = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _make_file_sink() -> FileSink | None:
    if settings.AUDIT_FILE is None:
        return None
    chain = Chain(os.urandom(8).hex())
    checkpoints = Checkpoints(
        chain, config().namespace, lambda: AuditWriters(services()), clock=time
    )
    return FileSink(AuditFile(settings.AUDIT_FILE), chain, checkpoints, clock=time)
