"""Whether a call that was admitted still would be, asked again while its answer streams."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from django.contrib.auth import get_user_model
from django.db import close_old_connections
from django.http import HttpRequest

from sessions_kms.concurrency.executors import executor, in_thread

THREADS = 2  # of its own: a database that does not answer holds up nothing else


class Watchers:
    """Who wants to know, in whichever event loop, when a person has changed."""

    def __init__(self) -> None:
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)  # the streams are the parent's

    @contextmanager
    def of(self, person: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when the person has changed."""
        changed = asyncio.Event()
        with self._lock:
            self._watching[person].add(changed)
            self._loops[changed] = asyncio.get_running_loop()
        try:
            yield changed
        finally:
            with self._lock:
                del self._loops[changed]
                self._watching[person].discard(changed)
                if not self._watching[person]:
                    del self._watching[person]

    def tell(self, person: str) -> None:
        """Set the events of a person, from whichever thread."""
        with self._lock:
            found = [(each, self._loops[each]) for each in self._watching.get(person, ())]
        for changed, loop in found:
            with suppress(RuntimeError):  # the loop has ended, and so have its streams
                loop.call_soon_threadsafe(changed.set)

    def _begin_anew(self) -> None:
        self._lock = Lock()
        self._watching: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}


watchers = Watchers()
look_again = watchers.tell


async def stands(request: HttpRequest, person: str) -> bool:
    """Tell whether the session is there and its person active.

    Raises StoreUnavailable, and django.db.Error, when that cannot be told.
    """
    key = request.session.session_key
    if key is None or not await request.session.aexists(key):
        return False
    return await in_thread(executor("gateway-standing", THREADS), _is_active, person)


def _is_active(person: str) -> bool:
    """Ask as in a request of its own: Django looks after connections where one begins and ends."""
    close_old_connections()
    try:
        users = get_user_model()._default_manager
        return users.filter(pk=person, is_active=True).exists()
    finally:
        close_old_connections()
