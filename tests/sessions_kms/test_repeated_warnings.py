"""A warning that repeats is a line a minute."""

import logging
from collections.abc import Iterator

import pytest

from sessions_kms import outages
from sessions_kms.data_keys import cached_keyring
from sessions_kms.outages import LINES_MAX, LOG_INTERVAL, OncePerMinute
from tests.sessions_kms.support.fakes import together
from tests.support.clock import FakeClock

LOGGER = logging.getLogger("tests.repeated")


@pytest.fixture(autouse=True)
def limit(clock: FakeClock) -> Iterator[OncePerMinute]:
    limit = OncePerMinute(clock)
    LOGGER.addFilter(limit)
    yield limit
    LOGGER.removeFilter(limit)


def test_equal_lines_of_a_minute_are_logged_once_and_counted(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(120):
        LOGGER.warning("%s cannot be asked.", "AWS KMS")
        clock.advance(1)
    clock.advance(LOG_INTERVAL)
    LOGGER.warning("AWS KMS cannot be asked.")
    assert caplog.messages == [
        "AWS KMS cannot be asked.",
        "AWS KMS cannot be asked. (59 more like it in 60 seconds.)",
        "AWS KMS cannot be asked. (59 more like it in 120 seconds.)",
    ]


def test_line_of_another_text_level_or_logger_is_another_line(
    limit: OncePerMinute, caplog: pytest.LogCaptureFixture
) -> None:
    other = LOGGER.getChild("other")
    other.addFilter(limit)
    for _ in range(2):
        LOGGER.warning("No answer of %s.", "one")
        LOGGER.warning("No answer of %s.", "two")
        LOGGER.error("No answer of %s.", "one")
        other.warning("No answer of %s.", "one")
    assert len(caplog.messages) == 4


def test_lines_that_warn_of_nothing_and_tracebacks_are_all_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        LOGGER.info("served")
        LOGGER.error("failed", exc_info=ValueError("why"))
    assert caplog.messages == ["served", "failed"] * 3


def test_no_more_lines_are_remembered_than_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(LINES_MAX):
        LOGGER.warning("%d", number)
    LOGGER.warning("0")
    assert len(caplog.messages) == LINES_MAX
    LOGGER.warning("one more")
    LOGGER.warning("%d", LINES_MAX - 1)
    assert len(caplog.messages) == LINES_MAX + 1
    LOGGER.warning("1")  # the oldest: that of 0 was renewed
    assert len(caplog.messages) == LINES_MAX + 2


def test_of_many_threads_at_once_one_logs(caplog: pytest.LogCaptureFixture) -> None:
    assert together(16, lambda _: LOGGER.warning("down")) == [None] * 16
    assert caplog.messages == ["down"]


def test_warnings_about_kms_are_limited_by_default() -> None:
    """Otherwise a process with cached data keys logs three lines a second in an outage of KMS."""
    assert outages.of_data_keys in cached_keyring.logger.filters
