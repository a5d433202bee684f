"""How many calls of one person may be open at once, in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway_site.rules.problems import Problem


class Slots:
    """Counts what is open under each key; a key that has nothing open is forgotten."""

    def __init__(self) -> None:
        self._open: Counter[object] = Counter()

    @contextmanager
    def taken(self, key: object, limit: int) -> Iterator[None]:
        """Hold a slot. Raises Problem where all are taken."""
        if self._open[key] >= limit:
            raise Problem(
                429,
                "too_many_calls",
                "Too many of your calls are open.",
                headers={"Retry-After": "1"},
            )
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def __len__(self) -> int:
        return len(self._open)
