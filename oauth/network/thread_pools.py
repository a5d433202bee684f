"""Threads for calls of providers, which block, apart by provider: what hangs holds up no other.

A call enters, a `Future` leaves. Knows nothing of what is called.
"""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sessions_kms.concurrency.executors import executor
from sessions_kms.concurrency.waits import Wait

THREADS = 16  # for each configured provider


def pool(provider: str) -> ThreadPoolExecutor:
    """Return the pool of a provider."""
    return executor(f"oauth-refresh-{provider}", THREADS)


@dataclass(frozen=True)
class Result(Wait):
    """The wait for what a thread makes, so many seconds long.

    Raises TimeoutError where it takes longer; the thread goes on.
    """

    future: "Future[Any]" = field(repr=False)
    seconds: float

    def block(self) -> Any:
        """Wait in this thread."""
        return self.future.result(self.seconds)

    async def suspend(self) -> Any:
        """Wait in the event loop."""
        waited = asyncio.wrap_future(self.future)
        waited.add_done_callback(_seen)
        await asyncio.wait([waited], timeout=self.seconds)
        if not self.future.done():
            raise TimeoutError
        return self.future.result()


def _seen(waited: "asyncio.Future[Any]") -> None:
    """Look at an error, which asyncio would complain of: nobody may be waiting by now."""
    if not waited.cancelled():
        waited.exception()
