"""A lock whose holder does not wait for itself.

Log handlers and signal receivers run in the middle of what they are told of. One that asks
who is signed in would wait for its own thread for good.
"""

from threading import Lock, get_ident
from types import TracebackType
from typing import Self

from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import StoreUnavailable


class GuardedLock:
    """A `threading.Lock` for `with` that raises StoreUnavailable where its holder enters again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder: int | None = None

    def __enter__(self) -> Self:
        """Wait for others as long as the request may, not for this thread.

        Raises StoreUnavailable.
        """
        if self._holder == get_ident():
            raise StoreUnavailable("The session is asked for within its own loading.")
        if not deadline.acquired(self._lock):
            raise StoreUnavailable
        self._holder = get_ident()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the next one in."""
        self._holder = None
        self._lock.release()
