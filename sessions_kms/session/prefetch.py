"""A session read before the code that needs it runs.

An event loop awaits the read, and then runs code that cannot wait: the first load of the same
key in the same context gets the outcome of that read, even an error. Later loads read again, and
so do tasks and threads with this context that outlive the request. `sessions_kms.ahead` chooses
the key.
"""

from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sessions_kms.session.repository import LoadedSession

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Prefetched:
    """The outcome of one read, for one load."""

    def __init__(self, session_key: str) -> None:
        self._key: str | None = session_key  # None once it is claimed
        self._lock = Lock()
        self._found: LoadedSession | None = None
        self._error: Exception | None = None

    async def read(self, load: "Coroutine[Any, Any, LoadedSession | None]") -> None:
        """Read the session; an error is stored for the load to raise."""
        __traceback_hide__ = True
        try:
            self._found = await load
        except Exception as error:  # noqa: BLE001 - raised by the load
            self._error = error

    @property
    def content(self) -> Mapping[str, Any]:
        """The content that a load will return, read-only; empty if the load will raise an error."""
        return NOTHING if self._found is None else MappingProxyType(self._found[1])

    def is_of(self, session_key: str | None) -> bool:
        """Return True if it is for a load of this key."""
        __traceback_hide__ = True
        return session_key is not None and self._key == session_key

    def claim(self) -> bool:
        """Claim it; return False if another thread or task has claimed it."""
        with self._lock:
            is_free, self._key = self._key is not None, None
        return is_free

    def drop(self) -> None:
        """Forget the outcome."""
        self._found = self._error = None

    def take(self) -> "LoadedSession | None":
        """Return the outcome or raise its error, once. Claim it first."""
        __traceback_hide__ = True
        found, error = self._found, self._error
        self.drop()
        try:
            if error is not None:
                raise error
            return found
        finally:
            error = None  # Break the cycle: its traceback refers to this frame.


_current: ContextVar[Prefetched | None] = ContextVar("sessions_kms_fetched", default=None)


@contextmanager
def offer(prefetched: Prefetched) -> Iterator[None]:
    """Give the outcome to the first load of the session within this block."""
    token = _current.set(prefetched)
    try:
        yield
    finally:
        if prefetched.claim():
            prefetched.drop()
        with suppress(ValueError):  # An abandoned coroutine is closed in any context.
            _current.reset(token)


def is_available(session_key: str | None) -> bool:
    """Return True if an outcome is available for a load of this key."""
    __traceback_hide__ = True
    prefetched = _current.get()
    return prefetched is not None and prefetched.is_of(session_key)


def claim(session_key: str | None) -> Prefetched | None:
    """Claim and return the outcome for a load of this key, if there is one."""
    __traceback_hide__ = True
    prefetched = _current.get()
    return (
        prefetched if prefetched and prefetched.is_of(session_key) and prefetched.claim() else None
    )
