"""When a session ends: Django's own expiry, below the absolute timeout.

Arithmetic on what a session holds and on a time; nothing is asked or stored here.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase

EXPIRY: Final = "_session_expiry"  # where Django keeps what `set_expiry` was told


class Lifetime(NamedTuple):
    """The two limits, in seconds: of idle sessions that tell none of their own, and of all.

    ``cookie_age`` is asked for the former by what a session holds.
    """

    cookie_age: Callable[[Mapping[str, Any]], float]
    absolute: int | None

    def idle_age(self, content: Mapping[str, Any], now: float) -> int:
        """Return Django's expiry age from a time, whatever the absolute timeout."""
        expiry = content.get(EXPIRY)
        if not expiry:
            return math.floor(self.cookie_age(content))
        return math.floor(_django.get_expiry_age(modification=moment(now), expiry=expiry))

    def ttl(self, content: Mapping[str, Any], now: float, created_at: int) -> int:
        """Return the epoch second at which a session ends if it is saved at a time."""
        ends = math.floor(now + self.idle_age(content, now))
        return max(0, ends if self.absolute is None else min(ends, created_at + self.absolute))


def moment(now: float) -> datetime:
    """Return a time in the form in which Django keeps expiry dates: aware with USE_TZ only."""
    return datetime.fromtimestamp(now, tz=UTC if settings.USE_TZ else None)


class _Django(SessionBase):
    """Django's own arithmetic, of a session that is told its expiry."""

    def __init__(self) -> None:
        """Read no setting: it is made when this is imported."""


_django = _Django()
