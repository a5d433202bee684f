"""A document of a provider that is fetched, kept for a while, and seldom fetched again.

A function that fetches enters, what it returned leaves. However many ask, one fetches and
the others share the outcome, failure too; then there is a pause before anybody fetches
again. Whoever has an old one at hand waits for nobody's fetch.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from sessions_kms.services import services

PAUSE = 60  # seconds between two fetches of whatever outcome
WAIT_MAX = 6.0  # seconds that another's fetch is waited for; it takes 5 at most

T = TypeVar("T")


class KeptDocument(Generic[T]):
    """One document. Ages are in seconds; what is older than ``max_stale`` serves no more."""

    def __init__(
        self, fetch: Callable[[], T], *, max_age: float, max_stale: float | None = None
    ) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._max_stale = max_stale
        self._lock = Lock()
        self._document: T | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._failure: ProviderUnavailable | None = None  # why the last fetch failed

    def get(self, *, pause: float = PAUSE) -> T:
        """Return the document, fetched if it is not fresh, or else the old one.

        ``pause`` is in seconds, since the last fetch. Raises ProviderUnavailable.
        """
        if not self._is_fresh():
            wait = 0.0 if self._usable() is not None else WAIT_MAX
            self._look(lambda: not self._is_fresh(), pause, wait)
        found = self._usable()
        if found is None:
            raise self._unavailable()
        return found

    def after(self, seen: T) -> T:
        """Return the document anew, for somebody who misses something in one they have seen.

        That is the same one where it was fetched a moment ago. Raises ProviderUnavailable
        while there is no telling what a newer one would say.
        """
        looked = self._look(lambda: self._document is seen, PAUSE, 0.0)
        found = self._usable()
        if found is None or (found is seen and (self._failure is not None or not looked)):
            raise self._unavailable()
        return found

    @property
    def fresh(self) -> T | None:
        """The document if it is fresh; nobody is asked for it."""
        return self._document if self._is_fresh() else None

    def _look(self, is_wanted: Callable[[], bool], pause: float, wait: float) -> bool:
        """Fetch, if that is still wanted and may be; False where another was at it too long."""
        if not self._lock.acquire(timeout=wait):
            return False
        try:
            if is_wanted() and not self._was_within(self._tried_at, pause):
                self._try()
        finally:
            self._lock.release()
        return True

    def _try(self) -> None:
        try:
            self._document, self._failure = self._fetch(), None
            self._fetched_at = services().clock()
        except ProviderUnavailable as exc:
            self._failure = ProviderUnavailable(str(exc), exc.code)  # without its frames
        finally:
            self._tried_at = services().clock()  # afterwards: a failure may take its time

    def _unavailable(self) -> ProviderUnavailable:
        if self._failure is None:
            return ProviderUnavailable("The provider does not answer in time.", Code.TIMEOUT)
        return ProviderUnavailable(str(self._failure), self._failure.code)

    def _is_fresh(self) -> bool:
        return self._document is not None and self._was_within(self._fetched_at, self._max_age)

    def _usable(self) -> T | None:
        if self._max_stale is None or self._was_within(self._fetched_at, self._max_stale):
            return self._document
        return None

    @staticmethod
    def _was_within(moment: float | None, seconds: float) -> bool:
        """Tell whether that was no longer ago; a clock that was set back prolongs nothing."""
        return moment is not None and 0 <= services().clock() - moment < seconds
