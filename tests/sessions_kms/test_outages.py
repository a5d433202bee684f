"""The log of an outage: its cause once, a count every minute, and its end."""

import errno
import logging
from typing import NoReturn

import pytest
from django.http import HttpRequest

from sessions_kms import outages
from sessions_kms.exceptions import KMSUnavailable, SessionMoved, TableUnavailable
from sessions_kms.outages import (
    AT_HAND,
    CAUSES_MAX,
    LOG_INTERVAL,
    QUIET,
    Outage,
    cause_of,
    traceback_of,
)
from tests.sessions_kms.support.fakes import together
from tests.support.clock import FakeClock

LOGGER = logging.getLogger("tests.outages")


def make_failure(cause: str = "no route\nto host") -> TableUnavailable:
    """Return an error as the engine raises it."""
    try:
        _fail(cause)
    except TableUnavailable as error:
        return error
    raise AssertionError


def _fail(cause: str) -> NoReturn:
    raise TableUnavailable from ConnectionError(cause)


@pytest.fixture
def outage(clock: FakeClock) -> Outage:
    return Outage(LOGGER, "table", "The table", clock, "Look at it.")


def test_beginning_is_logged_once_from_its_cause_to_its_traceback_in_a_line(
    outage: Outage, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        outage.refused(make_failure())
        clock.advance(0.1)
    [record] = caplog.records
    told = record.getMessage()
    assert told.startswith(
        "ConnectionError: no route\\nto host. The table cannot be used: requests are answered 503."
        " Look at it. Traceback (most"
    )
    assert "test_outages.py:" in told
    assert told.endswith("TableUnavailable from ConnectionError")
    assert "\n" not in caplog.text.rstrip("\n")


def test_concurrent_refusals_begin_one_outage(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    assert together(16, lambda _: outage.refused(make_failure())) == [None] * 16
    assert len(caplog.records) == 1


def test_count_is_logged_once_a_minute(
    outage: Outage, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3 * int(LOG_INTERVAL)):
        outage.refused(make_failure())
        clock.advance(1)
    counts = [record.getMessage() for record in caplog.records[1:]]
    assert counts == [
        "ConnectionError: no route\\nto host. The table cannot be used:"
        f" {count} requests were answered 503 in the last 60 seconds."
        for count in (61, 60)
    ]


def test_each_other_cause_is_logged_once(
    outage: Outage, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(59):
        outage.refused(make_failure(f"no answer in {second}.5 s"))
        outage.refused(make_failure("the table was deleted"))
        clock.advance(1)
    assert [record.getMessage().partition(" The")[0] for record in caplog.records] == [
        "ConnectionError: no answer in 0.5 s.",
        "ConnectionError: the table was deleted.",
    ]
    clock.advance(1)
    caplog.clear()
    outage.refused(make_failure("the table was deleted"))
    outage.refused(make_failure("no answer in 60 s"))
    [record] = caplog.records
    assert "119 requests" in record.getMessage()


def test_error_of_the_system_is_one_cause_however_it_is_worded(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads and event loops report a refused connection in different words."""
    for words in ("Connection refused", "Connect call failed ('127.0.0.1', 9)"):
        outage.refused(ConnectionRefusedError(errno.ECONNREFUSED, words))
    assert len(caplog.records) == 1
    outage.refused(OSError(errno.EHOSTUNREACH, "No route to host"))
    assert len(caplog.records) == 2


def test_ever_new_causes_are_few_lines(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        outage.refused(make_failure("x" * number))
    assert len(caplog.records) == CAUSES_MAX


def test_end_is_logged_when_requests_are_served_again(
    outage: Outage, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.served()
    outage.refused(make_failure())
    clock.advance(30)
    outage.refused(make_failure())
    clock.advance(QUIET - 1)
    outage.served()
    assert len(caplog.records) == 1
    clock.advance(1)
    outage.served()
    outage.served()
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "The table can be used again: 2 requests were answered 503 in 30 seconds."
    ]
    outage.refused(make_failure())
    assert "requests are answered 503" in caplog.records[-1].getMessage()


def test_outage_is_at_hand_shortly_after_a_refusal_until_a_request_is_served(
    outage: Outage, clock: FakeClock
) -> None:
    assert not outage.is_at_hand()
    outage.refused(make_failure())
    clock.advance(AT_HAND - 1)
    assert outage.is_at_hand()
    outage.served()
    assert not outage.is_at_hand()
    outage.refused(make_failure())
    assert outage.is_at_hand()
    clock.advance(AT_HAND)
    assert not outage.is_at_hand()


def test_any_part_of_the_store_may_be_the_one_at_hand(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = Outage(LOGGER, "kms", "KMS")
    monkeypatch.setattr(outages, "OUTAGES", {KMSUnavailable: healthy, TableUnavailable: outage})
    assert not outages.is_at_hand()
    outages.note(make_failure())
    assert outages.is_at_hand()


def test_reason_is_bounded() -> None:
    assert (
        len(cause_of(make_failure("x" * 10_000)) + traceback_of(make_failure("x" * 10_000))) < 1500
    )


def test_changed_key_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    outages.note(SessionMoved())
    assert not caplog.records


def test_request_without_a_session_ends_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(Outage):
        def served(self) -> None:
            raise AssertionError

    monkeypatch.setattr(outages, "OUTAGES", {TableUnavailable: Never(LOGGER, "", "")})
    outages.note_served(HttpRequest())
