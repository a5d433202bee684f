"""The store of a test run: its table, its KMS keys, its time and its faults.

One per process. What tests store is recorded, so that it can be undone; the engine's services are
built anew after that, since they cache cutoffs and data keys.
"""

import os
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from sessions_kms import conf, services
from sessions_kms.aws import calls
from sessions_kms.aws.remote_table import is_running_tests
from sessions_kms.format.attributes import Item, number
from sessions_kms.testing.faults import Fault, FaultyDynamoDB, FaultyKMS

if TYPE_CHECKING:
    Case = unittest.TestCase
else:
    Case = object


@dataclass
class Changes:
    """What was changed since some time: the previous items, and the seconds of `advance`."""

    items: dict[str, Item | None] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        """True if nothing was changed."""
        return not self.items and not self.seconds


class MemoryStore:
    """Sessions in memory: `store` of `sessions_kms.testing` is the one of this process."""

    def __init__(self) -> None:
        self.dynamodb = FaultyDynamoDB()
        self.kms = FaultyKMS()
        self._offset = 0.0
        self._latest = 0.0  # that `now` was, unless that was set back
        self._records = [Changes()]  # The last one is written to; the first one is never ended.
        self._record_in_last()

    # For tests

    def now(self) -> float:
        """Return the store's time: `time.time()` and what it was advanced by, in seconds.

        It is never before the last write of what is stored: a session must not be of the future in
        a test that signs in and then freezes an earlier time.
        """
        now = time.time() + self._offset
        if now < self._latest:
            return max(now, self._last_write())
        self._latest = now
        return now

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let time pass for sessions: those whose timeout it exceeds end.

        Django's own time, such as that of its signed cookies, stays as it is.
        """
        duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        self._offset += duration.total_seconds()
        self._records[-1].seconds += duration.total_seconds()

    @contextmanager
    def unavailable(self) -> Iterator[None]:
        """Let neither DynamoDB nor KMS be reached: what needs the store raises StoreUnavailable."""
        with self._failing(Fault.UNREACHABLE):
            yield

    @contextmanager
    def throttled(self) -> Iterator[None]:
        """Let DynamoDB and KMS reject every request because there are too many."""
        with self._failing(Fault.THROTTLED):
            yield

    @contextmanager
    def lose_responses(self) -> Iterator[None]:
        """Let DynamoDB apply each write of a session, and the response be lost on the way.

        A save then reads that it was applied, and succeeds. A delete raises StoreUnavailable.
        """
        with self._failing(Fault.LOST_RESPONSES):
            yield

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Undo everything that a block stores, and its changes of time."""
        changes = self.begin()
        try:
            yield
        finally:
            self.undo(self.end(changes))

    # For the mixin, the plugin and the engine

    def begin(self) -> Changes:
        """Start a record of changes, which lasts until it is passed to `end`; return it."""
        changes = Changes()
        self._records.append(changes)
        self._record_in_last()
        return changes

    def end(self, changes: Changes | None) -> Changes:
        """End a record, also if later ones continue; return it.

        None is for changes since the import of this module that are in no other record.
        """
        if changes is None:
            changes, self._records[0] = self._records[0], Changes()
        else:
            self._records = [each for each in self._records if each is not changes]
        self._record_in_last()
        return changes

    def undo(self, changes: Changes) -> None:
        """Restore the items and the time that there were before some changes."""
        if changes.is_empty:
            return
        for item_id, item in changes.items.items():
            if item is None:
                self.dynamodb.items.pop(item_id, None)
            else:
                self.dynamodb.items[item_id] = item
        self._offset -= changes.seconds
        self._latest = self._last_write()
        services.reset()

    def build_services(self, config: conf.Config) -> services.Services:
        """Wire the engine to this store. Raises ImproperlyConfigured unless tests are running."""
        if not is_running_tests() and not settings.DEBUG:
            raise ImproperlyConfigured(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, which keeps sessions in the memory"
                " of one process, and no tests are running. Set it to 'sessions_kms.backend'."
            )
        calls.service("dynamodb").quota.chance = lambda: 0.0  # no pause
        return services.build(
            config, clock=self.now, client=self.dynamodb, kms=self.kms, sleep=_no_sleep
        )

    def renew_lock(self) -> None:
        """Replace the lock of the table, in a forked child."""
        self.dynamodb.renew_lock()

    def _last_write(self) -> float:
        """Return when the youngest item was written, in epoch seconds."""
        items = list(self.dynamodb.items.values())
        return max((number(each, "updatedAt") for each in items if "updatedAt" in each), default=0)

    def _record_in_last(self) -> None:
        self.dynamodb.changes = self._records[-1].items

    @contextmanager
    def _failing(self, fault: Fault) -> Iterator[None]:
        before = self.dynamodb.fault, self.kms.fault
        self.dynamodb.fault = self.kms.fault = fault
        try:
            yield
        finally:
            self.dynamodb.fault, self.kms.fault = before
            services.reset()  # They would wait for some seconds before they try again.


def _no_sleep(_: float) -> None:
    """Do not wait."""


store = MemoryStore()
os.register_at_fork(after_in_child=store.renew_lock)


class SessionStoreMixin(Case):
    """Undoes what a test stores, and what its class stored. Put it before the test case's class.

    Each test starts with the sessions that `setUpClass` and `setUpTestData` stored, at their time.
    The pytest plugin does the same without it.
    """

    session_store: MemoryStore = store

    @classmethod
    def setUpClass(cls) -> None:
        """Undo after the class what it stores from now on."""
        cls.enterClassContext(store.isolated())
        super().setUpClass()

    def run(self, result: unittest.TestResult | None = None) -> Any:
        """Run the test; undo what it stores, its setUp and its cleanups included."""
        with store.isolated():
            return super().run(result)
