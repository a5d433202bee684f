"""A wait that may take so many seconds, without a timer if there is nothing to wait for."""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def wait_bounded(seconds: float, work: Awaitable[T]) -> T:
    """Return the result of an awaitable. Raises TimeoutError if it has to wait too long.

    `asyncio.timeout` creates a timer each time, but most messages are there, or accepted, at once.
    """
    iterator = work.__await__()
    try:
        wait = next(iterator)
    except StopIteration as end:
        found: T = end.value
        return found
    async with asyncio.timeout(seconds):
        return await _resume(iterator, wait)


@coroutine
def _resume(iterator: Generator[Any, Any, T], wait: Any) -> Generator[Any, Any, T]:
    """Continue an awaitable that waits for something already."""
    try:
        while True:
            error: BaseException | None = None
            try:
                outcome = yield wait
            except BaseException as raised:  # noqa: BLE001 - it is thrown where the wait is
                error = raised
            try:
                wait = iterator.send(outcome) if error is None else iterator.throw(error)
            finally:
                error = None  # Its traceback has this frame: each would keep the other.
    except StopIteration as end:
        found: T = end.value
        return found
