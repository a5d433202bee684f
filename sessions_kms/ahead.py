"""A session read ahead, for a server that runs Django's code in its event loop.

The cookies of a request enter, those that count; what its session holds leaves. Within `session`
Django's own middleware makes the store, as ever, and the first load of that key has for its
outcome what was awaited here: content, a key that has followed, or an error. So that code needs
neither a thread nor a wait, and what it does is what it would have done.
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

# What is waited for within is bounded together, as within a request: for who reads otherwise.
bounded = deadline.request
_engine = cache(import_module)  # which takes locks, each time that it is asked


class session:  # noqa: N801 - used as what it stands beside, which are functions
    """A block within which the session that cookies name is read; it gets the content, to look at.

    That is nothing where there is no session, or where it cannot be told: the first load within
    raises what there is to raise. What is waited for here and within is bounded together.
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
    """Return a store of the project's engine; None where that is none of ours."""
    __traceback_hide__ = True
    store = _engine(settings.SESSION_ENGINE).SessionStore(session_key)
    return store if isinstance(store, SessionStore) else None
