"""The background is bounded, and holds up no process that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from oauth.network.concurrency import Background
from tests import ROOT


def test_background_queue_is_bounded_and_runs_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    pool = Background(threads=1, waiting=2)
    started, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return go_on.wait(10)

    futures = [pool.submit(work)]
    assert started.wait(10)
    futures += [pool.submit(work) for _ in range(3)]
    assert [future.cancelled() for future in futures] == [False, False, False, True]
    assert "a task was dropped" in caplog.text
    assert not pool.drain(0)
    go_on.set()
    assert pool.drain(10)
    assert [future.result(0) for future in futures[:3]] == [True] * 3


def test_busy_account_leaves_room_for_others() -> None:
    pool = Background(threads=1, waiting=8)
    started, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return go_on.wait(10)

    first = pool.submit(work, "ada")
    assert started.wait(10)
    futures = [pool.submit(work, "ada") for _ in range(20)]
    assert [future.cancelled() for future in futures] == [False] + [True] * 19
    others = [pool.submit(work, account) for account in ("grace", None)]
    assert not any(future.cancelled() for future in others)
    go_on.set()
    assert pool.drain(10)
    assert all(future.result(0) for future in [first, futures[0], *others])
    assert pool.submit(work, "ada").result(10)
    assert pool.drain(10)
    assert not pool._accounts


def test_error_in_the_background_ends_no_thread() -> None:
    pool = Background(threads=1)
    failed = pool.submit(lambda: 1 // 0)
    assert pool.submit(lambda: 7).result(10) == 7
    assert isinstance(failed.exception(0), ZeroDivisionError)


@pytest.mark.parametrize(("seconds", "least", "is_told"), [(0.1, 0.1, False), (600.0, 1.0, True)])
def test_exiting_process_waits_at_most_a_second_and_logs_unfinished_work(
    seconds: float, least: float, is_told: bool
) -> None:
    work = f"run_in_background(lambda: time.sleep({seconds}))"
    code = (
        "import django, time; django.setup()\n"
        f"from oauth.network.concurrency import run_in_background; {work}"
    )
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        check=True,
        timeout=100,  # far less than the longer work takes
        stderr=subprocess.PIPE,
        text=True,
    )
    assert time.monotonic() - started >= least
    assert ("unfinished background tasks" in ended.stderr) == is_told
