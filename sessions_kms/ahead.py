"""A session read ahead, for a server that runs Django's code in its event loop.

The cookies of a request enter, those that count; what its session holds leaves. Within `session`
Django's own middleware makes the store, as ever, and the first load of that key has for its
outcome what was awaited here: content, a key that has followed, or an error. So that code needs
neither a thread nor a wait, and what it does is what it would have done.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.session import fetched, next_cookie

# What is waited for within is bounded together, as within a request: for who reads otherwise.
bounded = deadline.request
_engine = cache(import_module)  # which takes locks, each time that it is asked


@asynccontextmanager
async def session(cookies: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
    """Read the session that these cookies name; give its content, to be looked at.

    That is nothing where there is no session, or where it cannot be told: the first load within
    raises what there is to raise. What is waited for here and within is bounded together.
    """
    __traceback_hide__ = True
    store = _store(cookies.get(settings.SESSION_COOKIE_NAME))
    with bounded():
        if store is None or store.session_key is None:
            yield fetched.NOTHING
            return
        with next_cookie.keys_in(cookies):
            found = await store.afetched()
        with fetched.at_hand(found):
            yield found.content


def _store(session_key: str | None) -> SessionStore | None:
    """Return a store of the project's engine; None where that is none of ours."""
    __traceback_hide__ = True
    store = _engine(settings.SESSION_ENGINE).SessionStore(session_key)
    return store if isinstance(store, SessionStore) else None
