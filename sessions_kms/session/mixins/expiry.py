"""Idle and absolute timeout: when a session ends, and how long its cookie lives.

Idle is Django's own expiry; the absolute timeout counts from the sign-in (or the
creation of an anonymous session) and caps it. All of it is arithmetic on what
the session holds; nothing is stored here.
"""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import SessionBase

from sessions_kms.session.lifetime import moment

if TYPE_CHECKING:
    from sessions_kms.services import Services


class Expiry(SessionBase):
    """A session that ends at its idle or its absolute timeout, whichever comes first.

    Whoever mixes it in says when the absolute timeout began (``created``), and has services.
    """

    if TYPE_CHECKING:
        # What it needs, and two of Django's own that are missing in its stubs.

        @property
        def _services(self) -> "Services": ...

        def created(self) -> int | None: ...

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session ends, as Django does, below the absolute cap."""
        kwargs.setdefault("modification", moment(self._services.clock()))
        age: int = math.floor(super().get_expiry_age(**kwargs))
        end = self._absolute_end(kwargs["modification"].timestamp())
        if end is not None:
            age = min(age, math.floor(end - kwargs["modification"].timestamp()))
        return age

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends, as Django does, below the absolute cap."""
        kwargs.setdefault("modification", moment(self._services.clock()))
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
        end = self._absolute_end(self._services.clock())
        return None if end is None else datetime.fromtimestamp(end, tz=UTC)

    def _absolute_end(self, now: float) -> float | None:
        timeout = self._services.config.absolute_timeout
        if timeout is None:
            return None
        created = self.created()
        return (math.floor(now) if created is None else created) + timeout
