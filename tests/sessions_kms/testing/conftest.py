"""The test kit in this process."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from sessions_kms.testing import MemoryStore, store


@pytest.fixture
def kit(no_services: None, settings: Settings) -> Iterator[MemoryStore]:
    settings.SESSION_ENGINE = "sessions_kms.testing.backend"
    with store.isolated():
        yield store
