"""A client that records its requests, and the table and the sessions behind it."""

from typing import Any

import pytest

from sessions_kms.storage.session_items import SessionItems
from sessions_kms.storage.table import Table
from tests.sessions_kms.support.recording import TABLE, Recording


@pytest.fixture
def client() -> Recording:
    return Recording()


@pytest.fixture
def table(client: Recording) -> Table:
    recording: Any = client
    return Table(recording, name=TABLE)


@pytest.fixture
def records(table: Table) -> SessionItems:
    return SessionItems(table)
