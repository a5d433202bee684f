"""A semaphore with a fair queue of waiters, for one event loop.

The queue serves its waiters in rotation (round-robin scheduling, RFC 970 section 3), so that nobody
fills it up. A key is a path, such as the person and then the app: persons are served in rotation,
the apps of each in rotation as well, and waiters with the same path in order of arrival.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = tuple[Hashable, ...]
T = TypeVar("T", bound=Hashable)


class _Group(Generic[T]):
    """The items with a common beginning of their keys, or with the same key."""

    __slots__ = ("groups", "items")

    def __init__(self) -> None:
        self.groups: OrderedDict[Hashable, _Group[T]] = OrderedDict()
        self.items: OrderedDict[T, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self.items or self.groups)

    def add(self, item: T, key: Key) -> None:
        if not key:
            self.items[item] = None
            return
        if key[0] not in self.groups:
            self.groups[key[0]] = _Group()
        self.groups[key[0]].add(item, key[1:])

    def remove(self, item: T, key: Key) -> None:
        if not key:
            del self.items[item]
            return
        group = self.groups[key[0]]
        group.remove(item, key[1:])
        if not group:
            del self.groups[key[0]]

    def pop(self) -> T:
        if self.items:
            return self.items.popitem(last=False)[0]
        part, group = self.groups.popitem(last=False)
        item = group.pop()
        if group:
            self.groups[part] = group  # behind all others
        return item


class FairQueue(Generic[T]):
    """See the module. All operations take constant time. For one event loop."""

    def __init__(self) -> None:
        self._keys: dict[T, Key] = {}
        self._all: _Group[T] = _Group()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, item: T, key: Key) -> None:
        """Put an item behind those with the same key. All keys have the same length."""
        self._keys[item] = key
        self._all.add(item, key)

    def discard(self, item: T) -> None:
        """Remove an item, if it is still there."""
        key = self._keys.pop(item, None)
        if key is not None:
            self._all.remove(item, key)

    def pop(self) -> T:
        """Remove and return the next item. Raises KeyError if there is none."""
        item = self._all.pop()
        del self._keys[item]
        return item


class Busy(Exception):
    """No place became free in time."""


class Places:
    """A number of places; `free` ones are not reserved for a waiter.

    Like `asyncio.Semaphore`, but a free place is taken without suspending, and waiters are served
    in rotation (`FairQueue`).
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: FairQueue[asyncio.Future[None]] | None = None  # until somebody waits

    async def take(self, key: Key = ()) -> None:
        """Take a place."""
        if self.free:
            self.free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting = FairQueue() if self._waiting is None else self._waiting
        waiting.add(turn, key)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # It was given one in this very moment.
                self.give_back()
            raise
        finally:
            waiting.discard(turn)

    def give_back(self) -> None:
        """Give a place to the next waiter, or free it."""
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


def take_at_once(*wanted: Places) -> bool:
    """Take a place of each; return False, without taking any, if one has none free."""
    for each in wanted:
        if not each.free:
            return False
    for each in wanted:
        each.free -= 1
    return True


async def take_within(seconds: float, key: Key, *wanted: Places) -> None:
    """Take a place of each in sequence, waiting at most ``seconds`` in total. Raises Busy.

    A caller that waits for an earlier place does not hold the later ones.
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
    """Give a place of each back."""
    for each in taken:
        each.give_back()
