"""Pools of threads for blocking work of one kind: what hangs there holds up nothing else.

A pool is made at its first use and stays. A forked process has none of its parent's threads, so
it begins with no pools.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
T = TypeVar("T")

_made: Final[dict[str, ThreadPoolExecutor]] = {}


def executor(name: str, threads: int) -> ThreadPoolExecutor:
    """Return the pool of this name, with so many threads at most."""
    # Of two that are made at once one is dropped; it has started no thread yet.
    return _made.get(name) or _made.setdefault(
        name, ThreadPoolExecutor(threads, thread_name_prefix=name)
    )


async def in_thread(
    pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do blocking work in a thread of a pool, with this task's context; return its result."""
    __traceback_hide__ = True
    call = sync_to_async(work, thread_sensitive=False, executor=pool)
    return await call(*args, **kwargs)


os.register_at_fork(after_in_child=_made.clear)
