"""The stack of the printed template."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.sessions_kms.support.deployed import Deployed, deploying


@pytest.fixture
def encryption_context() -> dict[str, str]:
    return {}


@pytest.fixture
def deployed(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, encryption_context: dict[str, str]
) -> Iterator[Deployed]:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    settings.SESSIONS_KMS = {"ENCRYPTION_CONTEXT": encryption_context}
    with deploying(monkeypatch) as stack:
        yield stack
