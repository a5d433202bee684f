"""The threads that read large messages, and the fair queue in front of them.

One user occupies at most one thread and one place in the queue, whatever they send and receive; the
others of their messages wait behind that one, those of their apps in rotation.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from gateway_site.transport.places import Places, give_back
from gateway_site.transport.pool import Owner
from sessions_kms.concurrency.threads import executor

IN_LOOP = 8 * 1024  # bytes that are read in the event loop, in a few milliseconds at most
THREADS = 2

T = TypeVar("T")


class ReadingThreads:
    """See the module. For one event loop."""

    def __init__(self) -> None:
        self._threads = Places(THREADS)
        # A user's waiting and running work keeps the place.
        self._users: WeakValueDictionary[str, Places] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return the number of users with work that waits or runs."""
        return len(self._users)

    async def run(self, owner: Owner, work: Callable[[], T]) -> T:
        """Run a user's work in a thread when it is its turn; return the result."""
        user = self._users.get(owner.person)
        if user is None:
            user = self._users[owner.person] = Places(1)
        await user.take((owner.holder,))
        try:
            await self._threads.take()
        except BaseException:
            user.give_back()
            raise
        return await _run(work, user, self._threads)


async def _run(work: Callable[[], T], *places: Places) -> T:
    """Run work in a thread, and give the places back when it ends, even if nobody waits for it."""
    loop = asyncio.get_running_loop()
    try:
        future = executor("gateway-mcp", THREADS).submit(copy_context().run, work)
    except BaseException:
        give_back(*places)
        raise

    def end(_: object) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(give_back, *places)

    future.add_done_callback(end)
    return await asyncio.wrap_future(future)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, ReadingThreads] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_of_loops.clear)  # their loops are the parent's


def reading_threads() -> ReadingThreads:
    """Return the threads of the running event loop."""
    return _of_loops.setdefault(asyncio.get_running_loop(), ReadingThreads())


async def read_in_turn(owner: Owner, size: int, read: Callable[[], T]) -> T:
    """Return what a function reads in so many bytes: in a thread, if they are many."""
    return read() if size <= IN_LOOP else await reading_threads().run(owner, read)
