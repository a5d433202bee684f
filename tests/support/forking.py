"""Work in forked children: one that returns its result, and one that runs until it ends."""

import json
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import pytest


def in_child(work: Callable[[], Any], seconds: float = 20) -> Any:
    """Fork, do the work in the child, and return its result (JSON)."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # A warning since Python 3.12; the test is about locks that stay locked in the child.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:  # pragma: no cover - not measured in the child
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException as exc:  # noqa: BLE001 - reported to the parent
            os.write(writing, json.dumps(f"{type(exc).__name__}: {exc}").encode())
        finally:
            os._exit(0)  # without pytest's cleanup and the parent's open files
    os.close(writing)
    try:
        if not select.select([reading], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the child is stuck")
        return json.loads(os.read(reading, 100_000))
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


def flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


class Fork:
    """A process that calls a function and ends.

    Not a `multiprocessing.Process`: in one, the gateway would take itself for a server's worker.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                function()
                code = 0
            except BaseException:  # noqa: BLE001 - shown, and the process ends
                traceback.print_exc()
            finally:
                try:
                    flush()
                finally:
                    os._exit(code)
        self.ended = os.pidfd_open(self.pid)

    def join(self, timeout: float) -> int:
        """Wait for its end, and kill it if that takes too long; return its exit code."""
        if not wait([self.ended], timeout):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.ended)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
