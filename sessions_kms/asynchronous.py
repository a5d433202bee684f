"""The async half of the session contract: the sync methods, run in threads of their own.

boto3 blocks, so the work is done in a bounded executor; a write that has begun is
finished even if the request that asked for it is cancelled.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import monotonic
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from sessions_kms import deadline
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.limits import LimitedStore

logger = logging.getLogger("sessions_kms")

THREADS = 32
T = TypeVar("T")


@async_unsafe(
    "The session does I/O: use its async methods (aget, aset, asave, ...) in an async view."
)
def sync_only() -> None:
    """Raise SynchronousOnlyOperation in an event loop, which session I/O would block.

    A call of its own rather than a decorator, whose frame would hold the arguments.
    """


class AsyncStore(LimitedStore):
    """A session whose async methods never block the loop."""

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:
        self.accessed = True
        if hasattr(self, "_session_cache") or self.session_key is None:  # Nothing to load.
            return self._get_session(no_load)
        return await _in_thread(lambda: self._get_session(no_load))

    async def aexists(self, session_key: str) -> bool:
        __traceback_hide__ = True

        def exists() -> bool:
            __traceback_hide__ = True
            return self.exists(session_key)

        return await _in_thread(exists)

    async def aload(self) -> dict[str, Any]:
        return await _in_thread(self.load)

    async def acreate(self) -> None:
        await _finished(self.create)

    async def asave(self, must_create: bool = False) -> None:
        await _finished(lambda: self.save(must_create))

    async def adelete(self, session_key: str | None = None) -> None:
        __traceback_hide__ = True

        def delete() -> None:
            __traceback_hide__ = True
            self.delete(session_key)

        await _finished(delete)

    async def acycle_key(self) -> None:
        await _finished(self.cycle_key)


_writes: set[asyncio.Future[Any]] = set()


async def _in_thread(call: Callable[[], T]) -> T:
    asked_at = monotonic()

    def begin() -> T:
        try:
            deadline.queued(monotonic() - asked_at)
        except deadline.OutOfTime:
            raise StoreUnavailable("Too many wait for the session store.") from None
        return call()

    return await sync_to_async(begin, thread_sensitive=False, executor=_executor())()


async def _finished(write: Callable[[], None]) -> None:
    """Run a write to its end, whatever happens to the caller meanwhile."""
    task = asyncio.ensure_future(_in_thread(write))
    _writes.add(task)  # The loop itself holds tasks weakly.
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_log_failure)
        raise
    finally:
        task.add_done_callback(_writes.discard)


def _log_failure(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("A session write of a cancelled request failed: %s", type(error).__name__)


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="sessions_kms")


os.register_at_fork(after_in_child=_executor.cache_clear)
