"""What is logged of providers that fail: each reason, and each now and then."""

from __future__ import annotations

import logging

import pytest

from oauth.network.complaints import DIFFERENT_MAX, EVERY, Complaints
from tests.support.clock import FakeClock


def test_same_reason_is_told_now_and_then_and_another_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock(0.0)
    complaints = Complaints(logging.getLogger("x"), "%s: %s", clock)
    for _ in range(100):
        complaints.add("corp", "It is down.")
        clock.advance(EVERY / 50)
    complaints.add("corp", "It is HTML.")
    complaints.add("other", "It is down.")
    assert caplog.messages == ["corp: It is down."] * 2 + [
        "corp: It is HTML.",
        "other: It is down.",
    ]


def test_reasons_that_are_remembered_are_so_many_at_most() -> None:
    complaints = Complaints(logging.getLogger("x"), "%s: %s")
    for number in range(2 * DIFFERENT_MAX):
        complaints.add("corp", str(number))
    assert len(complaints._told) <= DIFFERENT_MAX
