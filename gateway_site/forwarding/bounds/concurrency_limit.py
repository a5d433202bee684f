"""How many calls of one person may be open at once, in this process."""

from __future__ import annotations

from gateway_site.rules.problems import Problem


class Slot:
    """One of a key's, held within a block."""

    def __init__(self, counted: dict[object, int], key: object) -> None:
        self._open = counted
        self._key = key

    def __enter__(self) -> None:
        self._open[self._key] = self._open.get(self._key, 0) + 1

    def __exit__(self, *_: object) -> None:
        if left := self._open[self._key] - 1:
            self._open[self._key] = left
        else:
            del self._open[self._key]


class Slots:
    """Counts what is open under each key; a key that has nothing open is forgotten."""

    def __init__(self) -> None:
        self._open: dict[object, int] = {}

    def taken(self, key: object, limit: int) -> Slot:
        """Return a slot to hold within a block. Raises Problem where all are taken."""
        if self._open.get(key, 0) >= limit:
            raise Problem(
                429,
                "too_many_calls",
                "Too many of your calls are open.",
                headers={"Retry-After": "1"},
            )
        return Slot(self._open, key)

    def __len__(self) -> int:
        return len(self._open)
