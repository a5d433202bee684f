"""The async half of the session contract: the sync methods, run in threads of their own.

boto3 blocks, so the work is done in a bounded executor; a write that has begun is
finished even if the request that asked for it is cancelled.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase
from django.utils.asyncio import async_unsafe

from sessions_kms.concurrency import deadline, executors
from sessions_kms.exceptions import StoreUnavailable

logger = logging.getLogger("sessions_kms")

THREADS = 32
WAITING_THREADS = THREADS // 2
T = TypeVar("T")


@async_unsafe(
    "The session does I/O: use its async methods (aget, aset, asave, ...) in an async view."
)
def sync_only() -> None:
    """Raise SynchronousOnlyOperation in an event loop, which session I/O would block.

    A call of its own rather than a decorator, whose frame would hold the arguments.
    """


class AsyncMethods(SessionBase):
    """A session whose async methods never block the loop."""

    if TYPE_CHECKING:  # Missing in Django's stubs.

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

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
        await _finished(lambda: self.save(must_create), of=self._number())

    def _number(self) -> int | None:
        """Return what tells this session from others here, and not its key."""
        return None if self.session_key is None else hash(self.session_key)

    async def adelete(self, session_key: str | None = None) -> None:
        __traceback_hide__ = True

        def delete() -> None:
            __traceback_hide__ = True
            self.delete(session_key)

        await _finished(delete)

    async def acycle_key(self) -> None:
        await _finished(self.cycle_key)


_writes: set[asyncio.Future[Any]] = set()


async def _in_thread(
    call: Callable[[], T], executor: Callable[[], ThreadPoolExecutor] | None = None
) -> T:
    asked_at = monotonic()

    def begin() -> T:
        try:
            deadline.queued(monotonic() - asked_at)
        except deadline.OutOfTime:
            raise StoreUnavailable("Too many wait for the session store.") from None
        return call()

    chosen = (executor or _executor)()
    return await sync_to_async(begin, thread_sensitive=False, executor=chosen)()


async def _finished(write: Callable[[], None], of: int | None = None) -> None:
    """Run a write to its end, whatever happens to the caller meanwhile.

    Of several writes ``of`` one session all but one are where they may wait for it.
    """
    task = asyncio.ensure_future(_in_its_place(write, of))
    _writes.add(task)  # The loop itself holds tasks weakly.
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_log_failure)
        raise
    finally:
        task.add_done_callback(_writes.discard)


async def _in_its_place(write: Callable[[], None], of: int | None) -> None:
    if of is None:
        await _in_thread(write)
        return
    with _writers.joined(of) as others:
        await _in_thread(write, _waiting_room if others else _executor)


class Writers:
    """How many write each session now, by a hash of its key: who shares one merely waits apart."""

    def __init__(self) -> None:
        self._lock = RLock()  # There may be several loops, and a write that nobody resumes.
        self._numbers: Counter[int] = Counter()

    @contextmanager
    def joined(self, session: int) -> Iterator[int]:
        """Be one more; gives how many others there were."""
        with self._lock:
            others = self._numbers[session]
            self._numbers[session] += 1
        try:
            yield others
        finally:
            with self._lock:
                self._numbers[session] -= 1
                if not self._numbers[session]:
                    del self._numbers[session]


def _log_failure(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("A session write of a cancelled request failed: %s", type(error).__name__)


def _executor() -> ThreadPoolExecutor:
    return executors.executor("sessions_kms", THREADS)


def _waiting_room() -> ThreadPoolExecutor:
    """Return where those wait whose session another one writes: they take no thread of others."""
    return executors.executor("sessions_kms_waiting", WAITING_THREADS)


_writers = Writers()


def _forked() -> None:
    global _writers  # noqa: PLW0603 - the parent's are not here
    _writers = Writers()


os.register_at_fork(after_in_child=_forked)
