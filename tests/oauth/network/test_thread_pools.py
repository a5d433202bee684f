"""What hangs at one provider holds up nobody of another one."""

from __future__ import annotations

import threading

from oauth.network.concurrency import THREADS_PER_PROVIDER, thread_pool


def test_provider_that_hangs_blocks_no_threads_of_another() -> None:
    go_on = threading.Event()
    hanging = [thread_pool("corp").submit(go_on.wait, 30) for _ in range(2 * THREADS_PER_PROVIDER)]
    try:
        for name in ("other", "corp-refresh", "refresh-corp"):
            assert thread_pool(name).submit(int, "7").result(20) == 7
    finally:
        go_on.set()
    assert all(each.result(30) for each in hanging)
