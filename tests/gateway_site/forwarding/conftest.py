"""The fixtures of these tests."""

import logging

import pytest

from sessions_kms import StoreUnavailable, outages
from sessions_kms.outages import Outage
from tests.support.clock import FakeClock


@pytest.fixture(autouse=True)
def _others_had_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what tests before have refused in this process, moments ago."""
    unheard = Outage(logging.getLogger("store"), "store", "The store", FakeClock())
    monkeypatch.setattr(outages, "OUTAGES", {StoreUnavailable: unheard})
