"""Idle and absolute timeout: when a session ends, and how long its cookie lives.

Idle is Django's own expiry; the absolute timeout counts from the sign-in (or the
creation of an anonymous session) and caps it. All of it is arithmetic on what
the session holds; nothing is stored here.
"""

import math
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from sessions_kms.services import services
from sessions_kms.session.redaction import QuietStore


class LimitedStore(QuietStore):
    """A session that ends at its idle or its absolute timeout, whichever comes first."""

    def created(self) -> int | None:
        """Return when the absolute timeout began (epoch seconds), None for a session not saved."""
        raise NotImplementedError

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session ends, as Django does, below the absolute cap."""
        kwargs.setdefault("modification", _moment(services().clock()))
        age: int = math.floor(super().get_expiry_age(**kwargs))
        end = self._absolute_end(kwargs["modification"].timestamp())
        if end is not None:
            age = min(age, math.floor(end - kwargs["modification"].timestamp()))
        return age

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends, as Django does, below the absolute cap."""
        kwargs.setdefault("modification", _moment(services().clock()))
        date = super().get_expiry_date(**kwargs)
        end = self._absolute_end(kwargs["modification"].timestamp())
        if end is None or date.timestamp() <= end:
            return date
        return datetime.fromtimestamp(end, tz=date.tzinfo)

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        if "expiry" not in kwargs:
            await self._aget_session()
        return self.get_expiry_age(**kwargs)

    async def aget_expiry_date(self, **kwargs: Any) -> datetime:
        if "expiry" not in kwargs:
            await self._aget_session()
        return self.get_expiry_date(**kwargs)

    def absolute_end(self) -> datetime | None:
        """Return when the session ends at the latest, in UTC; None without an absolute timeout."""
        self._get_session()
        end = self._absolute_end(services().clock())
        return None if end is None else datetime.fromtimestamp(end, tz=UTC)

    def _absolute_end(self, now: float) -> float | None:
        timeout = services().config.absolute_timeout
        if timeout is None:
            return None
        created = self.created()
        return (math.floor(now) if created is None else created) + timeout

    def _idle_age(self, now: float) -> int:
        """Return Django's own expiry age from now, whatever the absolute timeout."""
        return math.floor(super().get_expiry_age(modification=_moment(now)))

    def _ttl(self, now: float, created_at: int) -> int:
        """Return the epoch second at which the session ends if it is saved now."""
        ends = [math.floor(now + self._idle_age(now))]
        if (timeout := services().config.absolute_timeout) is not None:
            ends.append(created_at + timeout)
        return max(0, min(ends))


def _moment(now: float) -> datetime:
    """Return a time in the form in which Django keeps expiry dates: aware with USE_TZ only."""
    return datetime.fromtimestamp(now, tz=UTC if settings.USE_TZ else None)
