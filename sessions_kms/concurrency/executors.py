"""Pools of threads: one of each name in a process, made at first use and anew in a forked child.

A name and a number of threads enter; a pool leaves. Knows nothing of what is done there.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import Final, TypeVar

from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import StoreUnavailable

T = TypeVar("T")

_made: Final[dict[str, ThreadPoolExecutor]] = {}


def executor(name: str, threads: int) -> ThreadPoolExecutor:
    """Return this process's pool of a name, with so many threads at most.

    Its threads are named so. Pools that lose the race to be made have started none.
    """
    found = _made.get(name)
    return found or _made.setdefault(name, ThreadPoolExecutor(threads, thread_name_prefix=name))


async def in_thread(pool: ThreadPoolExecutor, call: Callable[..., T], *args: object) -> T:
    """Make a call that blocks in a thread of a pool, with this task's context.

    The time until it begins is on the request's account. Raises StoreUnavailable where it would
    begin too late, or what the call raises. Cancelled, it goes on by itself once it has begun.
    """
    __traceback_hide__ = True
    asked_at = monotonic()

    def begin() -> T:
        __traceback_hide__ = True
        try:
            deadline.queued(monotonic() - asked_at)
        except deadline.OutOfTime:
            raise StoreUnavailable("Too many wait for the session store.") from None
        return call(*args)

    return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, begin)


os.register_at_fork(after_in_child=_made.clear)  # the threads are the parent's
