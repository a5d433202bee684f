"""Pools of threads that are made at their first use."""

import os
import signal
import threading
import warnings

import pytest

from sessions_kms.concurrency.executors import executor, in_thread


async def test_work_of_one_name_shares_the_threads_of_one_pool() -> None:
    pool = executor("executors-test", 1)
    assert executor("executors-test", 1) is pool
    names = {(await in_thread(pool, threading.current_thread)).name for _ in range(3)}
    assert names == {"executors-test_0"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_has_threads_of_its_own() -> None:
    assert executor("executors-test", 1).submit(int, "1").result() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, since Python 3.12
        child = os.fork()
    if child == 0:  # pragma: no cover - not measured in the child
        # The parent's threads are not here: work that is given to them is never done.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        os._exit(executor("executors-test", 1).submit(int, "7").result())
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
