"""How often a missing item is read again, and what is said of responses that cannot be right."""

import logging
from typing import Any

import pytest

from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.storage import suspect_responses
from sessions_kms.storage.suspect_responses import (
    A_SECOND,
    KNOWN_FOR,
    LOGGED_EVERY,
    ConfirmationLimit,
    StrayResponses,
)
from sessions_kms.telemetry import telemetry
from tests.sessions_kms.support.recording import Suspect
from tests.support.clock import FakeClock

Counted = list[tuple[str, dict[str, str]]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted: Counted = []
    monkeypatch.setattr(telemetry, "count", lambda name, **more: counted.append((name, more)))
    return counted


@pytest.fixture
def limit(clock: FakeClock) -> ConfirmationLimit:
    return ConfirmationLimit(clock)


def test_fifty_confirmations_are_allowed_in_any_second(
    clock: FakeClock, limit: ConfirmationLimit
) -> None:
    assert limit.allows("first")
    clock.advance(0.5)
    assert all(limit.allows(str(number)) for number in range(A_SECOND - 1))
    clock.advance(0.25)
    assert not limit.allows("one more")
    clock.advance(0.25)
    assert limit.allows("a second after the first")
    assert not limit.allows("half a second after the others")


def test_item_missing_by_two_responses_is_not_read_again_for_two_seconds(
    clock: FakeClock, limit: ConfirmationLimit
) -> None:
    limit.confirmed("a")
    clock.advance(KNOWN_FOR / 2)
    limit.confirmed("b")
    assert [limit.allows("a"), limit.allows("b")] == [False, False]
    clock.advance(KNOWN_FOR / 2)
    assert [limit.allows("a"), limit.allows("b")] == [True, False]
    clock.advance(KNOWN_FOR / 2)
    assert limit.allows("b")


def test_item_that_is_confirmed_again_delays_no_other(
    clock: FakeClock, limit: ConfirmationLimit
) -> None:
    for name, seconds in (("a", 0.0), ("b", 0.5), ("a", 0.5)):
        clock.advance(seconds)
        limit.confirmed(name)
    clock.advance(KNOWN_FOR - 0.5)  # since b
    assert [limit.allows("a"), limit.allows("b")] == [False, True]


def test_alarm_is_logged_and_counted(counted: Counted, caplog: pytest.LogCaptureFixture) -> None:
    error = suspect_responses.log_alarm("ahead", suspect_responses.AHEAD)
    assert isinstance(error, StoreUnavailable)
    assert caplog.messages == [suspect_responses.AHEAD]
    assert counted == [("doubts", {"reason": "ahead"})]


def test_stray_responses_are_counted_and_logged_once_a_minute(
    clock: FakeClock, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    connection: Any = Suspect()
    stray = StrayResponses(clock)
    stray.add(connection, None)
    assert connection.is_distrusted
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("DynamoDB gave a response to another request: ")
    assert "Its connection is closed. Not logged before: 0." in caplog.text
    for seconds in (0.0, 1.0, LOGGED_EVERY - 1.5):
        clock.advance(seconds)
        stray.add()
    assert len(caplog.records) == 1
    clock.advance(0.5)
    stray.add()
    clock.advance(LOGGED_EVERY)
    stray.add()
    ends = [message.rpartition(": ")[2] for message in caplog.messages]
    assert ends == ["0.", "3.", "0."]
    assert counted == [("doubts", {"reason": "stray_answer"})] * 6
