"""Names of tools, methods and others, of which some end in `*`; rules by the names that they have.

A list may have thousands of names, and a file thousands of rules: finding the rules of a name takes
no longer if there are many.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Names:
    """Names of which some end in `*`, which stands for any rest, also for none.

    Names for which `spelled` returns the same text are not told apart.
    """

    def __init__(self, names: Iterable[str], spelled: Callable[[str], str] = str) -> None:
        found = [spelled(each) for each in names]
        self.spelled = spelled
        self.exact = frozenset(each for each in found if not each.endswith("*"))
        self.starts = tuple({each[:-1]: None for each in found if each.endswith("*")})

    def matches(self, name: str) -> bool:
        """Return True if the name is one of them."""
        name = self.spelled(name)
        return name in self.exact or name.startswith(self.starts)

    @property
    def match_all(self) -> bool:
        """Whether one of them is `*`."""
        return "" in self.starts


class ByNames(Generic[T]):
    """Things that have `Names`, all spelled alike."""

    def __init__(self, things: Iterable[tuple[Names, T]]) -> None:
        self._spelled: Callable[[str], str] = str
        self._exact: dict[str, list[T]] = {}
        self._starts: dict[str, list[T]] = {}
        for names, thing in things:
            self._spelled = names.spelled
            for name in names.exact:
                self._exact.setdefault(name, []).append(thing)
            for start in names.starts:
                self._starts.setdefault(start, []).append(thing)
        self._lengths = sorted({len(start) for start in self._starts})

    def find(self, name: str) -> Iterator[list[T]]:
        """Yield lists of all things that have a name, in their order; each list always the same."""
        name = self._spelled(name)
        if found := self._exact.get(name):
            yield found
        for length in self._lengths:
            if length > len(name):
                break
            if found := self._starts.get(name[:length]):
                yield found


def any_begins_with(ordered: Sequence[str], start: str) -> bool:
    """Return True if one of these texts, which are in order, begins so."""
    place = bisect_left(ordered, start)
    return place < len(ordered) and ordered[place].startswith(start)
