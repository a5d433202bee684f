"""What a pass over the table found out about data keys, so that KMS is asked once for each."""

from collections import OrderedDict
from typing import TypeVar

REMEMBERED = 4096  # data keys, of which a table has about one a day

WrappedKey = tuple[bytes, int]  # as KMS wrapped it, and its period
V = TypeVar("V")


class KnownKeys(OrderedDict[WrappedKey, V]):
    """Something about each data key, of the last ones only."""

    def __setitem__(self, key: WrappedKey, value: V) -> None:
        """Remember this one, and forget the oldest if there are too many."""
        super().__setitem__(key, value)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
