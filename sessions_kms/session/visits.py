"""Visits: requests that extend a session, although they change nothing in it.

Only a write extends a session. A visit writes by the rule of every save: if it moves the end by
more than a tenth of the idle timeout, or to the absolute end. No request fails because of that
write. After the store has failed, this process pauses these writes, since every request would wait
for them.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from django.contrib.sessions.backends.base import SessionBase, UpdateError

from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import (
    KMSUnavailable,
    SessionTooLarge,
    StoreUnavailable,
    TableUnavailable,
)

logger = logging.getLogger("sessions_kms")

PAUSE: Final = 10.0  # seconds


class VisitPause:
    """Whether this process writes no visits at the moment. ``steady`` is a monotonic clock."""

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self._steady = steady
        self._ends = float("-inf")

    @property
    def is_on(self) -> bool:
        """Return True until the pause ends."""
        return self._steady() < self._ends

    def start(self, error: StoreUnavailable) -> None:
        """Start the pause, and log its cause."""
        if not self.is_on:
            logger.warning("A visit could not extend its session: %s", error)
        self._ends = self._steady() + PAUSE


pause = VisitPause()


class Visits(SessionBase):
    """A session that visits extend. The class that mixes it in decides which of them do."""

    def visit(self) -> None:
        """Extend the loaded session if its end has to move; the response then renews the cookie.

        Changes of the request are left to its own save, which extends the session as well. Nothing
        is raised, and nothing changes, if the store is unavailable or the session has ended.
        """
        if self._is_extended_by_visit() and not pause.is_on:
            with _ignoring_failure():
                self.save()
                self.modified = True

    async def avisit(self) -> None:
        """Do the same as `visit` in an event loop."""
        if self._is_extended_by_visit() and not pause.is_on:
            with _ignoring_failure():
                await self.asave()
                self.modified = True

    def _is_extended_by_visit(self) -> bool:
        """Return True if a visit now would move the end of the session, as loaded."""
        raise NotImplementedError


@contextmanager
def _ignoring_failure() -> Iterator[None]:
    """Ignore that the session cannot be written."""
    try:
        with deadline.request():
            yield
    except (TableUnavailable, KMSUnavailable) as error:
        pause.start(error)
    except (StoreUnavailable, UpdateError, SessionTooLarge):
        pass  # Of this session only: it has moved or ended, or too many requests write it.
