"""A number of places, and a fair queue for those who find none free. For one event loop."""

from __future__ import annotations

import asyncio

from gateway_site.transport.fair_queue import FairQueue, Key


class Busy(Exception):
    """No place was free, and none was given back in time."""


class Places:
    """So many places; `free` ones are for nobody who waits.

    As `asyncio.Semaphore`, where a place that is there is taken without a wait, and where those
    who wait are served in rotation (`FairQueue`).
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def take(self, key: Key = ()) -> None:
        """Take one."""
        if self.free:
            self.free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(turn, key)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # It was given one in this very moment.
                self.give_back()
            raise
        finally:
            self._waiting.discard(turn)

    def give_back(self) -> None:
        """Give one to the next who still waits, or lay it down."""
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


def take_at_once(*wanted: Places) -> bool:
    """Take one of each if all are free; tell whether that was so."""
    for each in wanted:
        if not each.free:
            return False
    for each in wanted:
        each.free -= 1
    return True


async def take_within(seconds: float, key: Key, *wanted: Places) -> None:
    """Take one of each, waiting for so many seconds in sum. Raises Busy.

    The last is waited for with the others taken already, so that who waits for the first ones
    keeps nobody from the last.
    """
    taken: list[Places] = []
    try:
        async with asyncio.timeout(seconds):
            for each in wanted:
                await each.take(key)
                taken.append(each)
    except BaseException as error:
        give_back(*taken)
        if isinstance(error, TimeoutError):
            raise Busy from None
        raise


def give_back(*taken: Places) -> None:
    """Give one of each back."""
    for each in taken:
        each.give_back()
