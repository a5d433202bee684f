"""What is logged of providers that fail: few lines, however many requests meet the failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY = 10.0  # seconds between two lines that say the same
DIFFERENT_MAX = 256  # lines that are remembered


class Complaints:
    """Warns with the name of a provider and a reason, which is a fixed sentence of ours."""

    def __init__(
        self, logger: logging.Logger, sentence: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the sentence, with one `%s` for the provider and one for the reason."""
        self._logger = logger
        self._sentence = sentence
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}

    def add(self, provider: str, reason: str) -> None:
        """Log, unless the same was logged a moment ago."""
        now = self._clock()
        if now - self._told.get((provider, reason), float("-inf")) < EVERY:
            return
        if len(self._told) >= DIFFERENT_MAX:
            self._told.clear()
        self._told[provider, reason] = now
        self._logger.warning(self._sentence, provider, reason)

    def forget(self) -> None:
        """Forget what was logged."""
        self._told.clear()
