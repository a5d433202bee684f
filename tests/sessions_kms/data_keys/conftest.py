"""A process with a background, and its keyring."""

import pytest

from tests.sessions_kms.support.fleet import Process


@pytest.fixture
def process() -> Process:
    return Process()
