"""Loads a session in advance, for a server that runs Django's sync code in its event loop.

Takes the cookies of a request and returns the content of its session. Within `session`, Django's
middleware creates the store as usual, and the first load of the key has the result that was awaited
here: the content, a new key, or an error. Sync code therefore neither blocks nor needs a thread.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.session import next_cookie, prefetch

# A block that limits its waits to the budget of one request, for callers without `session`.
bounded = deadline.request
# Blocks in which a request finds the cookies of a key change, and its response gets them.
RequestKeys = next_cookie.RequestKeys
keys_of = next_cookie.keys_of
_engine = cache(import_module)  # `import_module` takes locks, even for a loaded module


class session:  # noqa: N801 - used like a function
    """Load the session named by the cookies for the block; the target is its content.

    The content is empty if there is no session, or if loading it failed: the first load within the
    block then raises the error. The waits here and within the block share one budget.
    """

    __slots__ = ("_bound", "_cookies", "_offer")

    def __init__(self, cookies: Mapping[str, str]) -> None:
        self._cookies = cookies
        self._offer: AbstractContextManager[None] | None = None

    async def __aenter__(self) -> Mapping[str, Any]:
        __traceback_hide__ = True
        store = _store(self._cookies.get(settings.SESSION_COOKIE_NAME))
        self._bound = bounded()
        self._bound.__enter__()
        if store is None or store.session_key is None:
            return prefetch.NOTHING
        try:
            with next_cookie.keys_in(self._cookies):
                found = await store.aprefetch()
        except BaseException:
            self._bound.__exit__(None, None, None)
            raise
        self._offer = prefetch.offer(found)
        self._offer.__enter__()
        return found.content

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._offer is not None:
                self._offer.__exit__(None, None, None)
        finally:
            self._bound.__exit__(None, None, None)


def _store(session_key: str | None) -> SessionStore | None:
    """Return a store of the project's engine; None if it is not derived from ours."""
    __traceback_hide__ = True
    store = _engine(settings.SESSION_ENGINE).SessionStore(session_key)
    return store if isinstance(store, SessionStore) else None
