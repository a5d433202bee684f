"""Pools of threads for blocking work of one kind: what hangs there holds up nothing else.

A pool is made at its first use and stays. A forked process has none of its parent's threads, so
it begins with no pools.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
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
    call = sync_to_async(_apart, thread_sensitive=False, executor=pool)
    return await call(partial(work, *args, **kwargs))


async def in_djangos_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work where Django looks after a request's connections to the database."""
    __traceback_hide__ = True
    return await sync_to_async(_apart)(partial(work, *args, **kwargs))


def _apart(work: Callable[[], T]) -> T:
    """Do work in a copy of this context, which gets what the work changed once that is over.

    A task that is cancelled gets from asgiref what its thread has made of its context so far. In
    the middle of a call that is the end of the call, which nobody would take out again.
    """
    __traceback_hide__ = True
    before, inside = copy_context(), copy_context()
    try:
        return inside.run(work)
    finally:
        for variable, value in inside.items():
            if variable not in before or before[variable] is not value:
                variable.set(value)


os.register_at_fork(after_in_child=_made.clear)
