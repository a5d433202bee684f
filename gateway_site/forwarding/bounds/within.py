"""A wait that is bounded, without a timer where there is nothing to wait for.

`asyncio.timeout` makes one each time. Most of what is handed to a server it takes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Return what is awaited. Raises TimeoutError where it has to be waited for, and too long."""
    iterator = work.__await__()
    try:
        wait = next(iterator)
    except StopIteration as end:
        found: T = end.value
        return found
    async with asyncio.timeout(seconds):
        return await _rest(iterator, wait)


@coroutine
def _rest(iterator: Generator[Any, Any, T], wait: Any) -> Generator[Any, Any, T]:
    """Go on with what waits for something already."""
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
