"""A queue that nobody fills up: each party in it has its turn after the other, however many wait.

Items enter with a key and leave in turn. The key is a path, such as the person and then the app:
the persons are served in rotation, the apps of each in rotation as well, and what has the same
path in the order of its arrival. (Round-robin scheduling, RFC 970 section 3.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = tuple[Hashable, ...]
T = TypeVar("T", bound=Hashable)


class _Group(Generic[T]):
    """The items whose keys begin alike, or, at the end of a key, are alike."""

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
        """Take an item out, if it is still there."""
        key = self._keys.pop(item, None)
        if key is not None:
            self._all.remove(item, key)

    def pop(self) -> T:
        """Take the next item out. Raises KeyError where there is none."""
        item = self._all.pop()
        del self._keys[item]
        return item
