"""How much of one kind this process does at once for each name; more is refused, not queued."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from oauth.exceptions import ProviderBusy


class ConcurrencyLimit:
    """So many at once for each name."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Be one of them, as long as the block runs. Raises ProviderBusy."""
        with self._lock:
            if self._running[name] >= self._most:
                raise ProviderBusy("Too much is asked of the provider at once.")
            self._running[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[name] -= 1

    def _begin_anew(self) -> None:
        self._lock = Lock()
        self._running: Counter[str] = Counter()
