"""The mixin of test cases, for unittest and Django's own test runner."""

import unittest
from typing import TYPE_CHECKING, Any

from sessions_kms.testing.memory_store import MemoryStore, store

if TYPE_CHECKING:
    Case = unittest.TestCase
else:
    Case = object


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
