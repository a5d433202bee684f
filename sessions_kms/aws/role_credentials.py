"""Credentials that boto may have to ask for, without a call ever waiting its turn for them.

boto looks for them when a client is made, and refreshes them within a call, under a lock: a
service of roles that hangs would hold up one call after the other. Here one flight fetches
them for all, and a call waits for it as long as the call may take.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import Any, Final

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.bounded_pool import BoundedPool

FETCH: Final = 10.0  # seconds for all that one fetching asks; a call waits less
LEAST: Final = 60  # seconds that credentials must have left, or a call waits for new ones
REST: Final = 1.0  # seconds after a failure during which nobody asks again


class FetchedCredentials:
    """What boto's signer takes for credentials, found at their first use and refreshed ahead.

    ``find`` gives boto's own object, or None where there are none.
    """

    method = "sessions_kms"

    def __init__(self, find: Callable[[], Any], lookups: BoundedPool[Any] | None = None) -> None:
        self._find = find
        self._lookups: BoundedPool[Any] = lookups or BoundedPool(threads=1)
        self._found: Any = None
        self._frozen: Any = None
        self._good_in = 0  # the epoch second in which they were found to last for minutes yet
        self._failure: tuple[Exception, float] | None = None

    def get_frozen_credentials(self) -> Any:
        """Return credentials to sign with. Raises OutOfTime, or what boto raises."""
        found = self.at_hand()
        if found is None:
            self._raise_recent_failure()
            return self._lookups.wait("credentials", self._fetch, deadline.call_left())
        return found

    def at_hand(self) -> Any:
        """Return credentials to sign with, without waiting; None where that has to be."""
        if self._frozen is None:
            return None
        second = int(time())  # boto's answer takes as long as to sign a request.
        if second == self._good_in:
            return self._frozen
        if not self._due(None):  # For minutes yet they are good, as a rule.
            self._good_in = second
        elif self._due(LEAST):
            return None
        else:
            self._begin()
        return self._frozen

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        """Return a function that returns one of their properties (`account_id`, say)."""
        return lambda: getattr(self.get_frozen_credentials(), name, None)

    def __getattr__(self, name: str) -> Any:
        """Give the rest as the frozen ones have it."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.get_frozen_credentials(), name)

    def _begin(self) -> None:
        if self._failed_lately():
            return
        with suppress(OSError, RuntimeError):
            self._lookups.begin("credentials", self._fetch)

    def _due(self, seconds: int | None) -> bool:
        """Tell whether they end within so many seconds, boto's own figure by default."""
        needed = getattr(self._found, "refresh_needed", None)
        return needed is not None and bool(needed(seconds))

    def _fetch(self) -> Any:
        try:
            with deadline.call(FETCH):
                self._frozen, self._good_in = self._fetched(), 0
        except Exception as exc:
            self._failure = (exc, monotonic())
            raise
        self._failure = None
        return self._frozen

    def _fetched(self) -> Any:
        from botocore.exceptions import NoCredentialsError

        self._found = self._found or self._find()
        if self._found is None:
            raise NoCredentialsError
        return self._found.get_frozen_credentials()

    def _failed_lately(self) -> bool:
        return self._failure is not None and monotonic() - self._failure[1] < REST

    def _raise_recent_failure(self) -> None:
        failure = self._failure
        if failure is not None and self._failed_lately():
            raise copy.copy(failure[0])
