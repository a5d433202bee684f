"""Credentials that one thread fetches for all calls, so that no call waits longer than it may.

boto looks for credentials when it creates a client, and refreshes them within a call, under a lock:
a hanging role service would delay one call after another. Here a call waits for the thread that
fetches them, as long as the call may take. This module does not depend on clients.
"""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import Any, Final

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.threads import BoundedPool, copy_error

FETCH: Final = 10.0  # seconds for one fetch of credentials; a call waits less
VALIDITY_MIN: Final = (
    60  # seconds that credentials must have left; otherwise a call waits for new ones
)
RETRY_AFTER: Final = 1.0  # seconds after a failed fetch in which nobody fetches again


class SharedCredentials:
    """Credentials as boto's signer takes them, fetched at their first use and refreshed ahead.

    ``find`` returns boto's own object, or None where there are none.
    """

    method = "sessions_kms"

    def __init__(self, find: Callable[[], Any], lookups: BoundedPool[Any] | None = None) -> None:
        self._find = find
        self._lookups: BoundedPool[Any] = lookups or BoundedPool(threads=1)
        self._found: Any = None
        self._frozen: Any = None
        self._valid_in = 0  # the epoch second in which they were found to be valid for minutes
        self._failure: tuple[Exception, float] | None = None

    def get_frozen_credentials(self) -> Any:
        """Return credentials to sign with. Raises OutOfTime, or what boto raises."""
        current = self.current()
        if current is None:
            self._raise_recent_failure()
            return self._lookups.wait("credentials", self._fetch, deadline.call_left())
        return current

    def current(self) -> Any:
        """Return credentials to sign with, without waiting; None where they must be fetched."""
        if self._frozen is None:
            return None
        second = int(time())  # To ask boto takes as long as to sign a request.
        if second == self._valid_in:
            return self._frozen
        if not self._expires_within(None):  # As a rule they are valid for minutes.
            self._valid_in = second
        elif self._expires_within(VALIDITY_MIN):
            return None
        else:
            self._refresh_ahead()
        return self._frozen

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        """Return a function that returns one of their properties, such as `account_id`."""
        return lambda: getattr(self.get_frozen_credentials(), name, None)

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the frozen credentials."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.get_frozen_credentials(), name)

    def _refresh_ahead(self) -> None:
        if self._failed_recently():
            return
        with suppress(OSError, RuntimeError):
            self._lookups.begin("credentials", self._fetch)

    def _expires_within(self, seconds: int | None) -> bool:
        """Return True if they expire within so many seconds, boto's own figure by default."""
        needed = getattr(self._found, "refresh_needed", None)
        return needed is not None and bool(needed(seconds))

    def _fetch(self) -> Any:
        try:
            with deadline.call(FETCH):
                self._frozen, self._valid_in = self._find_frozen(), 0
        except Exception as exc:
            self._failure = (exc, monotonic())
            raise
        self._failure = None
        return self._frozen

    def _find_frozen(self) -> Any:
        from botocore.exceptions import NoCredentialsError

        self._found = self._found or self._find()
        if self._found is None:
            raise NoCredentialsError
        return self._found.get_frozen_credentials()

    def _failed_recently(self) -> bool:
        return self._failure is not None and monotonic() - self._failure[1] < RETRY_AFTER

    def _raise_recent_failure(self) -> None:
        failure = self._failure
        if failure is not None and self._failed_recently():
            raise copy_error(failure[0])
