"""The pytest plugin: what a test or a fixture stores is undone at its end.

Imports neither Django nor the engine. Until a project has imported the test kit, nothing can be
stored in it; projects with another engine never do.
"""

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sessions_kms.testing.memory_store import Changes, MemoryStore

MODULE = "sessions_kms.testing.memory_store"


@pytest.fixture
def session_store() -> "MemoryStore":
    """Return the store of this process: `advance`, `unavailable`, `throttled`, `lose_responses`."""
    from django.conf import settings  # noqa: PLC0415 - no other test needs it

    from sessions_kms.checks import uses_test_kit  # noqa: PLC0415 - the same
    from sessions_kms.testing import store  # noqa: PLC0415 - the same

    if not uses_test_kit():
        pytest.fail(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}. Set it to"
            " 'sessions_kms.testing.backend' in the settings of the tests.",
            pytrace=False,
        )
    return store


@pytest.fixture(autouse=True)
def _undo_what_a_test_stores() -> Generator[None]:
    """Record from here, after the fixtures of wider scope and before the others."""
    changes = _begin()
    yield
    _undo(_end(changes))


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Undo what a fixture of a class, a module or the session stores after its teardown.

    unittest's `setUpClass` is such a fixture, too.
    """
    if fixturedef.scope == "function":
        return (yield)
    stored: list[Changes | None] = []
    fixturedef.addfinalizer(lambda: _undo(*stored))  # Added first, called last.
    changes = _begin()
    try:
        return (yield)
    finally:
        stored.append(_end(changes))


def _begin() -> "Changes | None":
    store = _imported_store()
    return None if store is None else store.begin()


def _end(changes: "Changes | None") -> "Changes | None":
    store = _imported_store()
    return None if store is None else store.end(changes)


def _undo(changes: "Changes | None") -> None:
    store = _imported_store()
    if store is not None and changes is not None:
        store.undo(changes)


def _imported_store() -> "MemoryStore | None":
    store: MemoryStore | None = getattr(sys.modules.get(MODULE), "store", None)
    return store
