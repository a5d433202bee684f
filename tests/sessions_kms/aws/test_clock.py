"""The engine's clock is DynamoDB's, however far off this machine's is."""

import asyncio
import time
from email.utils import formatdate

import pytest

from sessions_kms.aws.clock import (
    OFFSET_MAX,
    ServerClock,
    has_passed,
    offset_if_refused,
    parse_date,
    signing_time,
    signing_with,
)
from sessions_kms.exceptions import StoreUnavailable
from tests.support.clock import FakeClock

NOW = 1_800_000_000
DAY = 86_400


@pytest.fixture
def local(clock: FakeClock) -> FakeClock:
    return clock


def hear_offsets(local: FakeClock, *offsets: float) -> ServerClock:
    """Return a clock that has observed responses so many seconds ahead, in sequence."""
    heard = ServerClock(local)
    for offset in offsets:
        heard.observe(date(local, offset))
    return heard


def date(local: FakeClock, offset: float) -> str:
    return formatdate(local() + offset, usegmt=True)


def test_correct_clock_is_trusted(local: FakeClock) -> None:
    for offsets in ((), (0,), (0, 1, -1), (0.4,)):
        heard = hear_offsets(local, *offsets)
        assert (heard.offset, heard()) == (0, NOW)


@pytest.mark.parametrize("step", [61, -61, 5 * DAY])
def test_first_response_counts_after_the_local_clock_was_set(local: FakeClock, step: float) -> None:
    """Nothing is sealed until then (`Services.sealing_key`)."""
    heard = hear_offsets(local, *[0] * 8)
    before = heard.is_synchronized
    local.advance(step)
    assert (before, heard.is_synchronized) == (True, False)
    heard.observe(date(local, -step))
    assert heard.is_synchronized
    assert heard() == pytest.approx(NOW, abs=1)


@pytest.mark.parametrize("step", [59, -59])
def test_clock_that_was_set_by_less_is_corrected_by_three_responses(
    local: FakeClock, step: float
) -> None:
    heard = hear_offsets(local, *[0] * 8)
    local.advance(step)
    assert heard.is_synchronized
    offsets = []
    for _ in range(4):
        heard.observe(date(local, -step))
        offsets.append(heard.offset)
    assert offsets[:2] == [0, 0]
    assert offsets[-1] == pytest.approx(-step, abs=1)


def test_clock_without_a_response_is_not_synchronized(local: FakeClock) -> None:
    assert not hear_offsets(local).is_synchronized


@pytest.mark.parametrize(("offset", "said"), [(7200, "7200 s behind"), (-7200, "7200 s ahead of")])
def test_wrong_clock_is_logged_once(
    local: FakeClock, caplog: pytest.LogCaptureFixture, offset: int, said: str
) -> None:
    hear_offsets(local, offset, *[offset + 3] * 5)
    [told] = caplog.messages
    assert told.startswith(f"This machine's clock is {said} AWS's. Synchronize it by NTP.")


def test_slightly_wrong_clock_is_not_logged(
    local: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    hear_offsets(local, 50, 50, 50, -50, -50, -50, -50)
    assert caplog.messages == []


@pytest.mark.parametrize("offset", [600, -600, 2 * DAY, -2 * DAY])
def test_first_response_counts(local: FakeClock, offset: int) -> None:
    assert hear_offsets(local, offset)() == pytest.approx(NOW + offset, abs=1)


@pytest.mark.parametrize(
    ("heard", "believed"),
    [
        ((600, 0), 600),  # two say nothing yet
        ((600, 0, 0), 600),  # nor do three that differ
        ((600, 0, 0, 0), 0),
        ((600, 600, 601, 604, 606), 601),  # the median of five
        ((0, 0, 0, 0, 0, 600), 0),  # one odd response
        ((0, 0, 0, 0, 0, 600, 600), 0),
        ((0, 0, 0, 0, 0, 600, 600, 600), 600),  # the machine's clock was set
        ((0, 0, 0, 0, 0, 600, 600, 0, 600), 0),  # never three in a row
        ((0, 600, -600, 600, -600, 600), 0),
        ((0, 600, 606, 600), 0),  # not within five seconds
        ((0, 600, 605, 600), 600),
        ((600, 600, 600, 0, 0, 0), 0),  # and back, either way
        ((-600, -600, -600, 0, 0, 0), 0),
    ],
)
def test_three_agreeing_responses_are_trusted(
    local: FakeClock, heard: tuple[int, ...], believed: int
) -> None:
    assert hear_offsets(local, *heard).offset == pytest.approx(believed, abs=1)


@pytest.mark.parametrize("said", [None, "", "yesterday", "Fri, 99 Jan 2027 08:00:00 GMT"])
def test_invalid_date_is_ignored(local: FakeClock, said: str | None) -> None:
    heard = ServerClock(local)
    heard.observe(said)
    assert not heard.is_synchronized
    assert heard() == NOW


def test_clock_that_is_a_week_off_makes_the_store_unavailable(local: FakeClock) -> None:
    assert hear_offsets(local, OFFSET_MAX - 1)() > NOW
    for offset in (OFFSET_MAX + 2, -OFFSET_MAX - 2):
        heard = hear_offsets(local, offset)
        with pytest.raises(StoreUnavailable):
            heard()
        local.advance(offset)  # Somebody sets it.
        for _ in range(3):
            heard.observe(date(local, 0))
        assert heard() == pytest.approx(local(), abs=1)


def test_time_has_passed_only_by_the_date_of_the_response_itself(local: FakeClock) -> None:
    heard = hear_offsets(local, 600, 600, 600)
    assert heard.has_passed(NOW + 500)
    heard.observe(date(local, 0))  # one differing response
    assert heard() > NOW + 500
    assert not heard.has_passed(NOW + 500)
    assert heard.has_passed(NOW)


def test_other_clocks_are_trusted(local: FakeClock) -> None:
    assert has_passed(local, NOW)
    assert not has_passed(local, NOW + 1)


def test_requests_are_signed_by_it_even_if_it_is_a_week_off(local: FakeClock) -> None:
    heard = hear_offsets(local, 2 * OFFSET_MAX)
    assert signing_time(heard) == pytest.approx(NOW + 2 * OFFSET_MAX, abs=1)
    with signing_with(5):
        assert signing_time(heard) == NOW + 5


def test_signature_that_was_right_is_not_made_again(local: FakeClock) -> None:
    heard = hear_offsets(local)
    signing_time(heard)
    assert offset_if_refused(heard, date(local, 30)) is None
    assert offset_if_refused(heard, None) is None
    assert offset_if_refused(heard, date(local, -400)) == pytest.approx(-400, abs=1)


def test_date_is_that_of_rfc_9110() -> None:
    assert parse_date("Fri, 15 Jan 2027 08:00:00 GMT") == NOW + 0.5


async def test_response_of_another_task_is_no_witness(local: FakeClock) -> None:
    heard = hear_offsets(local, 600, 600, 600)

    async def another() -> None:
        heard.observe(date(local, 0))
        assert not heard.has_passed(NOW + 500)

    await asyncio.create_task(another())
    assert heard.has_passed(NOW + 500)


def test_age_of_the_last_response_is_measured_by_the_monotonic_clock(
    local: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = hear_offsets(local, 600, 600, 600, 0)
    assert not heard.has_passed(NOW + 500)
    later = time.monotonic() + 500
    monkeypatch.setattr("sessions_kms.aws.clock.time.monotonic", lambda: later)
    assert heard.has_passed(NOW + 500)
