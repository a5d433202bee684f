"""A session read before the code that needs it runs.

An event loop awaits the read, and then runs code that cannot wait: the first load of the same
key, in the same context, gets the outcome of that read, an error too. Later loads read again, and
so do tasks and threads that outlive the request, which have its context. `sessions_kms.ahead`
says which key it is.
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
        self._key: str | None = session_key  # until somebody has claimed it
        self._lock = Lock()
        self._found: LoadedSession | None = None
        self._error: Exception | None = None

    async def read(self, load: "Coroutine[Any, Any, LoadedSession | None]") -> None:
        """Read; what goes wrong is the load's to raise."""
        __traceback_hide__ = True
        try:
            self._found = await load
        except Exception as error:  # noqa: BLE001 - whoever loads gets it
            self._error = error

    @property
    def content(self) -> Mapping[str, Any]:
        """What a load will find, to be looked at; nothing where it will raise an error."""
        return NOTHING if self._found is None else MappingProxyType(self._found[1])

    def is_of(self, session_key: str | None) -> bool:
        """Return True if it is there for a load of this key."""
        __traceback_hide__ = True
        return session_key is not None and self._key == session_key

    def claim(self) -> bool:
        """Have it for oneself; False where another thread or task has."""
        with self._lock:
            is_free, self._key = self._key is not None, None
        return is_free

    def drop(self) -> None:
        """Keep nothing of it."""
        self._found = self._error = None

    def take(self) -> "LoadedSession | None":
        """Return what was read, or raise its error, once, to who has claimed it."""
        __traceback_hide__ = True
        found, error = self._found, self._error
        self.drop()
        try:
            if error is not None:
                raise error
            return found
        finally:
            error = None  # Its traceback has this frame: each would keep the other.


_current: ContextVar[Prefetched | None] = ContextVar("sessions_kms_fetched", default=None)


@contextmanager
def offer(prefetched: Prefetched) -> Iterator[None]:
    """Have the first load of the session within get what was read."""
    token = _current.set(prefetched)
    try:
        yield
    finally:
        if prefetched.claim():
            prefetched.drop()
        with suppress(ValueError):  # An abandoned coroutine is closed in any context.
            _current.reset(token)


def is_available(session_key: str | None) -> bool:
    """Return True if there is something for a load of this key."""
    __traceback_hide__ = True
    prefetched = _current.get()
    return prefetched is not None and prefetched.is_of(session_key)


def claim(session_key: str | None) -> Prefetched | None:
    """Return what is at hand for a load of this key, whose it is alone then."""
    __traceback_hide__ = True
    prefetched = _current.get()
    return (
        prefetched if prefetched and prefetched.is_of(session_key) and prefetched.claim() else None
    )
