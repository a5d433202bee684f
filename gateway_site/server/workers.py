"""The parent of the workers: it starts and, at SIGHUP, replaces them, unless settings have a fault.

A new worker serves before the old one ends. On a busy machine that may take long, so each has a
minute, and is started again if it is not ready by then. If some workers still have other settings
than the rest, the log and a metric say so. One that ended by itself is replaced as soon as the
settings have no fault; the log says so if they have changed meanwhile. A worker that ends answers
`/readyz` with 503, unless it knows that it has been replaced.

A worker whose parent was killed closes its port and ends: nobody would replace it, and the next
parent could not listen.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from socket import socket
from time import monotonic
from typing import cast

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import Multiprocess, multiprocess
from uvicorn.supervisors.multiprocess import Process

from gateway_site.configuration import FileState
from gateway_site.server import log_queue

logger = logging.getLogger("uvicorn.error")  # the one that is configured in the parent

TIME_LIMIT = 60  # seconds
READY_TIME = 60.0  # seconds in which a new worker has to become ready
ATTEMPTS = 4  # to start one
RETRY_TIME = 15.0  # seconds between two attempts to replace a worker that has ended
END_TIME = 10  # seconds to end in, after those for open requests
JOIN_TIME = 0.2  # seconds between two looks at whether the parent has to end
# As a new worker reads them. The error of a variable never repeats a secret.
CHECK = """
import os, sys
sys.path[:] = sys.argv[1:]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from gateway_site.forwarding.calls.middleware_check import check_middleware
try:
    settings.INSTALLED_APPS
    check_middleware()
except ImproperlyConfigured as error:
    sys.exit(" ".join(str(error).splitlines()))
"""


class Worker(Process):
    """One of the processes."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self.made_at = monotonic()
        self.next_at: float | None = None  # once it has ended: when another may be started
        self._is_asked = self._has_responded = False

    def is_alive(self, timeout: float = READY_TIME) -> bool:
        """Return True if the process runs, and answers unless it has just been started.

        It answers once it has imported what it needs, which may take long on a busy machine.
        """
        if not self._has_responded and self.process.is_alive():
            if not self._is_asked:
                self._is_asked, self._has_responded = True, self.ping(0)
            self._drop_responses()
            if not self._has_responded and monotonic() < self.made_at + READY_TIME:
                return True
        return super().is_alive(timeout)

    def is_ready(self, timeout: float = 5) -> bool:
        """Return True if the process serves now; a response to an older question does not count."""
        self._drop_responses()
        return super().is_ready(timeout)

    def _drop_responses(self) -> None:
        """Drop responses that came after their timeout."""
        with suppress(OSError, EOFError):
            while self.parent_conn.poll(0):
                self.parent_conn.recv()
                self._has_responded = True

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve; this runs in the new process, whose handlers of the log exist."""
        log_queue.start()
        end_with_parent((self.config.timeout_graceful_shutdown or 0) + END_TIME)
        super().target(sockets)


CHANGED = (
    "A worker that has ended is replaced by one with other settings, since GATEWAY_CONFIG has"
    " changed: up to %d of %d have the former settings. Send SIGHUP."
)
OUTDATED = (
    "The workers are not replaced: %d of %d have the former settings, since no new one became ready"
    " within %d seconds, in %d attempts. Send SIGHUP again, or restart the server."
)


class EndRequest(threading.Event):
    """Is set as soon as a signal asks the parent to end, before the parent handles the signal."""

    def __init__(self, signals: Container[int]) -> None:
        super().__init__()
        self._signals = signals

    def is_set(self) -> bool:
        """Return True if the parent has to end."""
        return super().is_set() or signal.SIGTERM in self._signals or signal.SIGINT in self._signals


class Workers(Multiprocess):
    """uvicorn's parent process, with a check before workers are started or replaced."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self.should_exit = EndRequest(self.signal_queue)
        self._file = FileState(os.environ)

    def run(self) -> None:
        """Run the workers; exit if the settings have a fault: each would fail, again and again."""
        if (fault := find_fault()) is not None:
            logger.critical("The workers are not started: %s", fault)
            sys.exit(STARTUP_FAILURE)
        super().run()

    def terminate_all(self) -> None:
        """End the workers. While they drain, only they accept connections."""
        for each in self.sockets:
            each.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that has ended or hangs, unless the settings have a fault.

        The others go on then, and it is tried again: uvicorn would start one after the other, each
        with the same fault, or end the others.
        """
        for index, each in enumerate(cast("list[Worker]", self.processes)):
            if self.should_exit.is_set():
                return
            if each.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            if each.next_at is None:
                self._bury(each)
            elif each.next_at <= monotonic():
                self._start_another(index, each)

    def _bury(self, worker: Worker) -> None:
        """End a worker that hangs; end all if it could not start, and none of the others serves."""
        worker.kill()
        worker.join()
        worker.next_at = max(monotonic(), worker.made_at + RETRY_TIME)
        logger.error("The worker [%s] has ended, with %s.", worker.pid, worker.exitcode)
        others = (each for each in self.processes if each is not worker)
        if worker.exitcode == STARTUP_FAILURE and not any(each.is_ready() for each in others):
            logger.critical("It could not start, and no other worker serves.")
            self.should_exit.set()

    def _start_another(self, index: int, ended: Worker) -> None:
        if (fault := find_fault()) is not None:
            logger.error("A worker that has ended is not replaced: %s", fault)
            ended.next_at = monotonic() + RETRY_TIME
            return
        if self._file.find_change() is not None:
            logger.error(CHANGED, len(self.processes) - 1, len(self.processes))
        new = multiprocess.Process(self.config, self.sockets)
        new.start()
        self.processes[index] = new

    def handle_hup(self) -> None:
        """Have the workers read their rules again; replace them if the settings have no fault.

        Only the last of several signals does so, and none if the parent has to end.
        """
        if signal.SIGHUP in self.signal_queue or self.should_exit.is_set():
            return
        for each in self.processes:
            # A worker that is still starting would be ended by the signal. It reads the files now.
            _signal_if_ready(each, signal.SIGHUP)
        checked_at, file = monotonic(), FileState(os.environ)
        if (fault := find_fault()) is not None:
            logger.error("The workers are not replaced: %s", fault)
            return
        self._file = file
        with _telling_replaced(self.processes, self.should_exit):
            super().handle_hup()
        self._report_outdated(checked_at)

    def restart_all(self) -> None:
        """Replace each worker, until a new one does not become ready."""
        for index in range(len(self.processes)):
            if not self._replace(index):
                return

    def _replace(self, index: int) -> bool:
        """Replace a worker by one that is ready; return False if none becomes ready."""
        for _ in range(ATTEMPTS):
            if self.should_exit.is_set():
                return False
            new = multiprocess.Process(self.config, self.sockets)
            new.start()
            if new.wait_until_ready(READY_TIME, self.should_exit):
                self.processes[index].terminate()
                self.processes[index].join()
                self.processes[index] = new
                return True
            new.kill()
            new.join()
            logger.warning("The new worker [%s] did not become ready.", new.pid)
        return False

    def _report_outdated(self, checked_at: float) -> None:
        """Say how many workers were made before the settings were checked."""
        workers = cast("list[Worker]", self.processes)
        outdated = [each for each in workers if each.made_at < checked_at]
        if not outdated or self.should_exit.is_set():
            return
        logger.error(OUTDATED, len(outdated), len(self.processes), READY_TIME, ATTEMPTS)
        for each in outdated:
            _signal_if_ready(each, signal.SIGUSR1)  # It counts that: the parent has no metrics.


def end_with_parent(seconds: float) -> None:
    """End this worker when its parent has ended; kill it if that takes longer than this."""
    if (parent := parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent, seconds), daemon=True).start()


def _end_after(parent: BaseProcess, seconds: float) -> None:
    parent.join()
    logger.error("The parent process has ended: this worker ends too.")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)  # its event loop is blocked


@contextmanager
def _telling_replaced(processes: Iterable[Process], should_exit: threading.Event) -> Iterator[None]:
    """Have workers that are ended in this block told before that others serve in their place.

    They drain. A parent that has to end meanwhile does not wait for them before it ends the others.
    """
    workers = [each for each in processes if each.is_ready(timeout=1)]
    for each in workers:
        vars(each)["terminate"] = partial(_tell_and_terminate, each)
        vars(each)["join"] = partial(_join_unless, should_exit, each)
    try:
        yield
    finally:
        for each in workers:
            del vars(each)["terminate"], vars(each)["join"]


def _signal_if_ready(process: Process, number: int) -> None:
    """Send a signal to a worker that handles it; it would end one that does not yet."""
    if process.pid is not None and process.is_ready(timeout=1):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _tell_and_terminate(process: Process) -> None:
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGUSR2)
    process.__class__.terminate(process)


def _join_unless(should_exit: threading.Event, process: Process) -> None:
    while process.process.is_alive() and not should_exit.is_set():
        process.process.join(JOIN_TIME)


def find_fault() -> str | None:
    """Return what is wrong with the settings, as a new process reads them; None if nothing is."""
    command = [sys.executable, "-c", CHECK, *sys.path]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the settings could not be checked ({type(error).__name__})."
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the check of the settings ended with {done.returncode}."


def use_for_server() -> None:
    """Have uvicorn's command line use this parent, with these workers."""
    vars(multiprocess)["Process"] = Worker
    vars(import_module("uvicorn.main"))["Multiprocess"] = Workers
