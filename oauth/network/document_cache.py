"""A provider's documents, fetched when needed and cached for a while.

Concurrent callers share one fetch and its outcome, also a failure; the next fetch follows after a
pause. A caller never waits for a fetch while an old document is usable. If a caller misses
something in the document, it is fetched again at once; this has a separate pause, so that a recent
fetch because of age does not prevent it.
"""

import math
import os
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Generic, TypeVar, TypeVarTuple

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from sessions_kms.services import services

FETCH_PAUSE = 60  # seconds between two fetches, also after a failure
WAIT_MAX = 6.0  # seconds to wait for another caller's fetch, which takes at most 5

DOCUMENTS_MAX = 64  # documents of one type; about one for each configured provider

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def _clock() -> float:
    # Not a clock from a caller: documents are cached for the whole process.
    return services().clock()


class CachedDocument(Generic[T]):
    """One document. Ages are in seconds; a document older than ``max_stale`` is not used."""

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
        self._missed_at: float | None = None  # when a new document lacked what a caller needed
        self._failure: ProviderUnavailable | None = None  # why the last fetch failed
        self._number = 0  # of the fetch that returned the document
        self.fetches = 0  # fetches started

    def get(self, *, pause: float = FETCH_PAUSE) -> T:
        """Return the document. Fetch it if it is not fresh; if that fails, return the old one.

        ``pause`` is the minimum number of seconds since the last fetch. Raises
        ProviderUnavailable.
        """
        if not self._is_fresh():
            wait = 0.0 if self._usable() is not None else WAIT_MAX
            self._fetch_if(lambda: not self._is_fresh() and not self._has_just_tried(pause), wait)
        found = self._usable()
        if found is None:
            raise self._unavailable()
        return found

    def refetch(self, fetches: int) -> T:
        """Return a document from a later fetch, for a caller that misses something.

        ``fetches`` is the number of fetches the caller has seen. Raises ProviderUnavailable while
        no newer document can be fetched.
        """
        self._fetch_if(lambda: self._number <= fetches and self._remaining_pause() <= 0, 0.0)
        found = self._usable()
        if found is None or self._number <= fetches:
            raise self._unavailable(retry_after=max(1, math.ceil(self._remaining_pause())))
        return found

    def note_missing(self) -> None:
        """Note that even a new document lacks what a caller needs: pause before the next fetch."""
        self._missed_at = _clock()

    @property
    def fresh(self) -> T | None:
        """The document if it is fresh; never fetches it."""
        return self._document if self._is_fresh() else None

    def _fetch_if(self, is_wanted: Callable[[], bool], wait: float) -> None:
        """Fetch if still wanted, after waiting at most ``wait`` seconds for another fetch."""
        if not self._lock.acquire(timeout=wait):
            return
        try:
            if is_wanted():
                self._fetch_document()
        finally:
            self._lock.release()

    def _fetch_document(self) -> None:
        self.fetches += 1
        try:
            self._document, self._failure = self._fetch(), None
            self._fetched_at, self._number = _clock(), self.fetches
        except ProviderUnavailable as exc:
            self._failure = ProviderUnavailable(str(exc), exc.code)  # without its frames
        finally:
            self._tried_at = _clock()  # afterwards: a failure may take several seconds

    def _has_just_tried(self, pause: float) -> bool:
        return self._was_within(self._tried_at, pause)

    def _remaining_pause(self) -> float:
        """Return the seconds until a caller that misses something may fetch again."""
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
        """Return True if less time has passed; a clock that is set back extends nothing."""
        return moment is not None and 0 <= _clock() - moment < seconds


class DocumentCache(Generic[*Ts, T]):
    """Documents of one type, by the arguments of their fetch; cleared when there are too many."""

    def __init__(
        self, fetch: Callable[[*Ts], T], *, max_age: float, max_stale: float | None = None
    ) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._max_stale = max_stale
        self._cached: dict[tuple[object, ...], CachedDocument[T]] = {}
        os.register_at_fork(after_in_child=self.clear)  # The parent may have held a lock.

    def of(self, *args: *Ts) -> CachedDocument[T]:
        """Return the document that is fetched with these arguments."""
        if args not in self._cached and len(self._cached) >= DOCUMENTS_MAX:
            self.clear()
        fetch = partial(self._fetch, *args)
        document = CachedDocument(fetch, max_age=self._max_age, max_stale=self._max_stale)
        return self._cached.setdefault(args, document)

    def clear(self) -> None:
        """Remove all documents and remembered failures."""
        self._cached.clear()
