"""Whether a call that was admitted still would be, asked again while its answer streams.

Who called enters, as little of them as that takes: a stream may last for an hour.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock

from django import db
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.db import close_old_connections

from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.executors import executor, in_thread

THREADS = 2  # of its own: a database that does not answer holds up nothing else


class SessionEnded(Exception):
    """The session under which a call was admitted stands no longer, or its person is inactive."""


class Watchers:
    """Who wants to know, in whichever event loop, when a person has changed.

    `told` counts how often anybody has, for those who begin to watch later than they should.
    """

    def __init__(self) -> None:
        self.told = 0
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
            self.told += 1
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


@dataclass(eq=False, slots=True)
class Caller:
    """Who called, as of the moment when that was made."""

    store: type[SessionBase]
    key: str | None = field(repr=False)
    person: str
    told: int

    async def watch(self, every: float) -> None:
        """Raise SessionEnded when the call would not be admitted again.

        It is asked every so many seconds, and when its person has changed, since that moment
        too. Not being able to tell is no reason.
        """
        with watchers.of(self.person) as changed:
            if watchers.told != self.told:
                changed.set()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await changed.wait()
                changed.clear()
                with suppress(StoreUnavailable, db.Error):
                    if not await self._stands():
                        raise SessionEnded

    async def _stands(self) -> bool:
        """Tell whether the session is there and its person active.

        Raises StoreUnavailable, and django.db.Error, when that cannot be told.
        """
        if self.key is None or not await self.store(self.key).aexists(self.key):
            return False
        return await in_thread(executor("gateway-standing", THREADS), _is_active, self.person)


def caller_of(session: SessionBase, person: str) -> Caller:
    """Return who calls, by a request's session, of which no content is kept."""
    return Caller(type(session), session.session_key, person, watchers.told)


def _is_active(person: str) -> bool:
    """Ask as in a request of its own: Django looks after connections where one begins and ends."""
    close_old_connections()
    try:
        users = get_user_model()._default_manager
        return users.filter(pk=person, is_active=True).exists()
    finally:
        close_old_connections()
