"""Counts what clients cause and logs the number once a minute: a flood is no flood of lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY = 60.0  # seconds


class Tally:
    """Warns with a sentence that has `%d` for how often it happened since it was last told."""

    def __init__(
        self, logger: logging.Logger, sentence: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._sentence = sentence
        self._clock = clock
        self._count = 0
        self._told = float("-inf")

    def add(self) -> None:
        """Count once more; log, unless that was done a moment ago."""
        self._count += 1
        now = self._clock()
        if now - self._told >= EVERY:
            self._logger.warning(self._sentence, self._count)
            self._count, self._told = 0, now
