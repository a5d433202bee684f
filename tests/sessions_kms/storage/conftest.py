"""A client that records its requests, with the table and the sessions behind it."""

import pytest

from tests.sessions_kms.support.recording import Recording


@pytest.fixture
def client() -> Recording:
    return Recording()
