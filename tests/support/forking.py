"""Runs work in a forked child and returns its result."""

import json
import os
import select
import signal
import warnings
from collections.abc import Callable
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
