"""What ends a call from outside while it is running: its client disconnects, or its session ends.

Short calls are not watched: starting and stopping two tasks costs more than the rest of the call.
Nor does each call have its own timer: all calls of an event loop start to be watched after the same
delay, so they queue. The session watch keeps as little of the caller as it needs, since a stream
may last for an hour.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import takewhile
from threading import Lock
from typing import Any

from django import db
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.db import close_old_connections

from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.threads import executor, in_thread

THREADS = 2  # separate: an unresponsive database delays nothing else
WATCH_DELAY = 0.25  # seconds until a disconnected client is noticed

Watcher = Callable[[], Coroutine[Any, Any, None]]


class WatchedBlock:
    """A block that runs to its end, or until a watcher raises an error, which it then raises."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers: Sequence[Watcher] = watchers
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is for coroutines
        self._call = task
        self._context = copy_context()
        self._cancellations = task.cancelling()
        self._queue = _watch_queue()
        self._queue.add(self)

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        del details  # The traceback among them has this frame: each would keep the other.
        self._queue.remove(self)
        self._cancel_tasks()
        # Like `asyncio.timeout`: a cancellation by somebody else is kept.
        if self._error is None or self._call.uncancel() > self._cancellations:
            return
        if kind is asyncio.CancelledError:
            try:
                raise self._error from None
            finally:
                self._error = None  # Its traceback has this frame, too.

    def start(self) -> None:
        """Start the watchers."""
        loop = self._call.get_loop()
        for watcher in self._watchers:
            # In the context of the call, not of the one that started the timer.
            task = loop.create_task(watcher(), context=self._context.copy())
            task.add_done_callback(self._record_error)
            self._tasks.add(task)

    def _cancel_tasks(self) -> None:
        begun, self._tasks = self._tasks, set()
        for task in begun:
            task.cancel()

    def _record_error(self, task: asyncio.Task[None]) -> None:
        if task not in self._tasks or task.cancelled() or self._error is not None:
            return
        self._error = task.exception()
        if self._error is not None:
            self._call.cancel()


class _WatchQueue:
    """Blocks that are not watched yet, in order of time, with one timer for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[WatchedBlock, float] = {}
        self._has_timer = False

    def add(self, block: WatchedBlock) -> None:
        """Watch a block after the delay."""
        self._due[block] = self._loop.time() + WATCH_DELAY
        if not self._has_timer:
            self._schedule()

    def remove(self, block: WatchedBlock) -> None:
        """Do not start watching a block."""
        self._due.pop(block, None)

    def _schedule(self) -> None:
        self._has_timer = True
        # In an empty context: another would be kept as long as the queue is not empty.
        self._loop.call_at(next(iter(self._due.values())), self._start_due, context=Context())

    def _start_due(self) -> None:
        self._has_timer = False
        now = self._loop.time()
        for block, _ in list(takewhile(lambda each: each[1] <= now, self._due.items())):
            del self._due[block]
            block.start()
        if self._due:
            self._schedule()


_watch_queues: dict[asyncio.AbstractEventLoop, _WatchQueue] = {}
os.register_at_fork(after_in_child=_watch_queues.clear)  # their loops are the parent's


def _watch_queue() -> _WatchQueue:
    """Return the running event loop's queue."""
    loop = asyncio.get_running_loop()
    if loop not in _watch_queues:
        for ended in [each for each in _watch_queues.copy() if each.is_closed()]:
            _watch_queues.pop(ended, None)
        _watch_queues[loop] = _WatchQueue(loop)
    return _watch_queues[loop]


class SessionEnded(Exception):
    """The session of an admitted call has ended, or its user is inactive."""


class ChangeNotifier:
    """Notifies streams, in any event loop, when their user has changed.

    `version` counts all changes, for streams that start to watch late.
    """

    def __init__(self) -> None:
        self.version = 0
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # the streams are the parent's

    @contextmanager
    def subscribe(self, person: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the user has changed."""
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

    def notify(self, person: str) -> None:
        """Set the events of a user, from any thread."""
        with self._lock:
            self.version += 1
            found = [(each, self._loops[each]) for each in self._watching.get(person, ())]
        for changed, loop in found:
            with suppress(RuntimeError):  # the loop has ended, and so have its streams
                loop.call_soon_threadsafe(changed.set)

    def _reset(self) -> None:
        self._lock = Lock()
        self._watching: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}


user_changes = ChangeNotifier()
notify_user_changed = user_changes.notify


@dataclass(eq=False, slots=True)
class SessionWatch:
    """The session of a call, as of when the call was made."""

    store: type[SessionBase]
    key: str | None = field(repr=False)
    person: str
    version: int

    async def watch(self, every: float) -> None:
        """Raise SessionEnded when the session has ended, or its user is inactive.

        This is checked every so many seconds, and when the user has changed since the call was
        made. Nothing is raised while it cannot be checked.
        """
        with user_changes.subscribe(self.person) as changed:
            if user_changes.version != self.version:
                changed.set()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await changed.wait()
                changed.clear()
                with suppress(StoreUnavailable, db.Error):
                    if not await self._is_valid():
                        raise SessionEnded

    async def _is_valid(self) -> bool:
        """Return True if the session exists and its user is active.

        Raises StoreUnavailable and django.db.Error if that cannot be checked.
        """
        if self.key is None or not await self.store(self.key).aexists(self.key):
            return False
        return await in_thread(executor("gateway-standing", THREADS), _is_active, self.person)


def watch_session(session: SessionBase, person: str) -> SessionWatch:
    """Return the watch of a request's session; it keeps none of its content."""
    return SessionWatch(type(session), session.session_key, person, user_changes.version)


def _is_active(person: str) -> bool:
    """Query the database as a request does, so that Django manages the connection."""
    close_old_connections()
    try:
        users = get_user_model()._default_manager
        return users.filter(pk=person, is_active=True).exists()
    finally:
        close_old_connections()
