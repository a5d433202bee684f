"""How often the tokens of a grant may be refreshed: ten times in any minute. Pure.

The times of the refreshes are sealed in the refresh token, which every exchange replaces: so all
processes count together, and nothing else is stored. The age of the token is no measure, since a
program that has just been restarted may refresh within seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

REFRESHES_MAX: Final = 10
WINDOW: Final = 60  # seconds


def recent(refreshed_at: Iterable[float], now: float) -> tuple[float, ...]:
    """Return the times of the last minute, all in epoch seconds.

    Of a time that is further ahead than that nobody knows whether it was so: a clock was wrong.
    """
    return tuple(each for each in refreshed_at if abs(now - each) < WINDOW)


def seconds_to_wait(refreshed_at: Iterable[float], now: float) -> int:
    """Return after how many seconds the next refresh may be made: 0 for now."""
    times = sorted(recent(refreshed_at, now))
    if len(times) < REFRESHES_MAX:
        return 0
    return max(1, math.ceil(times[-REFRESHES_MAX] + WINDOW - now))
