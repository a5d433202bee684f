"""For tests that run the gateway's program in this process."""

import django
import pytest


@pytest.fixture(autouse=True)
def django_is_set_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second time, the log of all later tests would be written to the output captured here."""
    monkeypatch.setattr(django, "setup", lambda: None)
