"""A provider's documents, fetched when needed and cached for a while.

However many callers ask, one fetches and the others share the outcome, failures too; then there is
a pause before the next fetch. A caller for whom an old document is cached never waits for a fetch.
A caller who misses something in the document has it fetched at once, with a pause of its own: a
fetch because of age does not get in the way.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Generic, TypeVar, TypeVarTuple

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from sessions_kms.services import services

FETCH_PAUSE = 60  # seconds between two fetches of whatever outcome
WAIT_MAX = 6.0  # seconds that another's fetch is waited for; it takes 5 at most

DOCUMENTS_MAX = 64  # documents of a kind; there are about as many as providers are configured

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def _clock() -> float:
    # Documents are kept for the whole process, and so is what tells their age.
    return services().clock()


class CachedDocument(Generic[T]):
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
        self._missed_at: float | None = None  # when a new one lacked what was looked for
        self._failure: ProviderUnavailable | None = None  # why the last fetch failed
        self._number = 0  # of the fetch that brought the document
        self.fetches = 0  # that have begun

    def get(self, *, pause: float = FETCH_PAUSE) -> T:
        """Return the document, fetched if it is not fresh, or else the old one.

        ``pause`` is in seconds, since the last fetch. Raises ProviderUnavailable.
        """
        if not self._is_fresh():
            wait = 0.0 if self._usable() is not None else WAIT_MAX
            self._look(lambda: not self._is_fresh() and not self._has_just_tried(pause), wait)
        found = self._usable()
        if found is None:
            raise self._unavailable()
        return found

    def refetched(self, fetches: int) -> T:
        """Return a document of a later fetch than those, for somebody who misses something.

        Raises ProviderUnavailable while there is no telling what a newer one would say.
        """
        self._look(lambda: self._number <= fetches and self._remaining_pause() <= 0, 0.0)
        found = self._usable()
        if found is None or self._number <= fetches:
            raise self._unavailable(retry_after=max(1, math.ceil(self._remaining_pause())))
        return found

    def note_missing(self) -> None:
        """Note that even a new one lacks what somebody looked for: the next may wait."""
        self._missed_at = _clock()

    @property
    def fresh(self) -> T | None:
        """The document if it is fresh; nobody is asked for it."""
        return self._document if self._is_fresh() else None

    def _look(self, is_wanted: Callable[[], bool], wait: float) -> None:
        """Fetch, if that is still wanted and nobody is at it for too long."""
        if not self._lock.acquire(timeout=wait):
            return
        try:
            if is_wanted():
                self._try()
        finally:
            self._lock.release()

    def _try(self) -> None:
        self.fetches += 1
        try:
            self._document, self._failure = self._fetch(), None
            self._fetched_at, self._number = _clock(), self.fetches
        except ProviderUnavailable as exc:
            self._failure = ProviderUnavailable(str(exc), exc.code)  # without its frames
        finally:
            self._tried_at = _clock()  # afterwards: a failure may take its time

    def _has_just_tried(self, pause: float) -> bool:
        return self._was_within(self._tried_at, pause)

    def _remaining_pause(self) -> float:
        """Return the seconds until somebody who misses something may have it fetched again."""
        failed_at = self._tried_at if self._failure is not None else None
        moments = [moment for moment in (self._missed_at, failed_at) if moment is not None]
        now = _clock()
        return max((FETCH_PAUSE - (now - each) for each in moments if each <= now), default=0.0)

    def _unavailable(self, *, retry_after: int | None = None) -> ProviderUnavailable:
        if self._failure is None:
            reason = "The provider was asked a moment ago, or does not answer in time."
            return ProviderUnavailable(reason, Code.TIMEOUT, retry_after=retry_after)
        return ProviderUnavailable(str(self._failure), self._failure.code, retry_after=retry_after)

    def _is_fresh(self) -> bool:
        return self._document is not None and self._was_within(self._fetched_at, self._max_age)

    def _usable(self) -> T | None:
        if self._max_stale is None or self._was_within(self._fetched_at, self._max_stale):
            return self._document
        return None

    @staticmethod
    def _was_within(moment: float | None, seconds: float) -> bool:
        """Tell whether that was no longer ago; a clock that was set back prolongs nothing."""
        return moment is not None and 0 <= _clock() - moment < seconds


class DocumentCache(Generic[*Ts, T]):
    """Documents of one kind, each by what it is fetched with; all are forgotten at too many."""

    def __init__(
        self, fetch: Callable[[*Ts], T], *, max_age: float, max_stale: float | None = None
    ) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._max_stale = max_stale
        self._kept: dict[tuple[object, ...], CachedDocument[T]] = {}
        os.register_at_fork(after_in_child=self.forget)  # The parent may have held a lock.

    def of(self, *args: *Ts) -> CachedDocument[T]:
        """Return the document that is fetched with these arguments."""
        if args not in self._kept and len(self._kept) >= DOCUMENTS_MAX:
            self.forget()
        fetch = partial(self._fetch, *args)
        made = CachedDocument(fetch, max_age=self._max_age, max_stale=self._max_stale)
        return self._kept.setdefault(args, made)

    def forget(self) -> None:
        """Forget all of them, and that any could not be fetched."""
        self._kept.clear()
