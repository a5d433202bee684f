"""CachingKeyring, sealing: renewal ahead of its age, outages, refusals."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sessions_kms.concurrency.threads import start_thread
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.storage.published_keys import PublishedKey
from tests.sessions_kms.support.fakes import (
    KEY,
    Call,
    State,
)
from tests.sessions_kms.support.fleet import (
    DAY,
    LEAD,
    MAX_AGE,
    MAX_STALE,
    NOW,
    PERIOD,
    RENEWAL_AGE,
    Process,
    make_elsewhere,
    put_clock,
)

NEXT = PERIOD + DAY


# Renewal ahead of its age


def test_many_writes_call_kms_once(process: Process) -> None:
    assert len({process.generate(PERIOD).encrypted for _ in range(1000)}) == 1
    assert len(process.kms.calls) == 2


def test_renewal_starts_at_its_age_in_the_background(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE - 0.5)
    process.generate(PERIOD)
    assert process.jobs == []
    process.clock.advance(0.5)
    assert process.generate(PERIOD) == key
    assert (len(process.jobs), len(process.kms.calls)) == (1, 2)
    process.run_jobs()
    assert (process.kms.count("generate_data_key"), process.kms.count("decrypt")) == (1, 2)
    process.clock.advance(MAX_AGE - 0.5)
    assert process.generate(PERIOD) == key
    assert len(process.kms.calls) == 3


def test_one_renewal_at_a_time(process: Process) -> None:
    process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE)
    for _ in range(10):
        process.generate(PERIOD)
    assert process.run_jobs() == 1


def test_renewal_serves_reading_too(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE)
    process.generate(PERIOD)
    process.run_jobs()
    process.clock.advance(MAX_AGE / 2)
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert process.kms.count("decrypt") == 2


def test_constantly_read_key_is_renewed_through_the_table(process: Process) -> None:
    """Reading keeps a key young; the published item must be read again nevertheless."""
    key = process.generate(PERIOD)
    process.clock.advance(MAX_AGE)
    process.unwrap(key.encrypted, PERIOD)
    mended = make_elsewhere(process.kms)
    process.table.keys[PERIOD] = PublishedKey(PERIOD, mended.encrypted, NOW, NOW + DAY)
    assert process.generate(PERIOD) == mended


def test_age_of_a_generated_key_counts_from_before_the_kms_call(process: Process) -> None:
    process.kms.during = lambda _call: process.clock.advance(2)
    process.generate(PERIOD)
    process.kms.during = lambda _call: None
    process.clock.advance(RENEWAL_AGE - 2)
    process.generate(PERIOD)
    assert len(process.jobs) == 1


@pytest.mark.parametrize(("chance", "age"), [(0.0, 225), (0.5, 240), (1.0, 255)])
def test_renewal_is_jittered_around_four_fifths_of_the_age(chance: float, age: float) -> None:
    process = Process(chance=lambda: chance)
    process.generate(PERIOD)
    process.clock.advance(age - 0.5)
    process.generate(PERIOD)
    assert process.jobs == []
    process.clock.advance(0.5)
    process.generate(PERIOD)
    assert len(process.jobs) == 1


def test_renewal_that_fails_leaves_the_key_in_use_and_is_tried_again(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE)
    process.kms.set_state(State.UNREACHABLE)
    assert process.generate(PERIOD) == key
    assert process.run_jobs() == 1
    assert process.generate(PERIOD) == key
    assert process.jobs == []
    process.clock.advance(1)
    process.kms.set_state(State.ENABLED)
    assert process.generate(PERIOD) == key
    assert process.run_jobs() == 1
    process.clock.advance(MAX_AGE - 0.5)
    before = len(process.kms.calls)
    assert process.generate(PERIOD) == key
    assert len(process.kms.calls) == before


def test_renewal_that_just_failed_is_not_tried_again_in_line(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(MAX_AGE - 0.5)
    process.generate(PERIOD)
    process.kms.set_state(State.UNREACHABLE)
    assert process.run_jobs() == 1
    before = len(process.kms.calls)
    process.clock.advance(0.5)
    assert process.generate(PERIOD) == key
    assert len(process.kms.calls) == before


def test_refusal_in_the_background_stops_the_next_write_and_read(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE)
    process.kms.set_state(State.REFUSING)
    process.generate(PERIOD)
    process.run_jobs()
    assert process.plaintexts() == set()
    with pytest.raises(KMSUnavailable) as caught:
        process.generate(PERIOD)
    assert caught.value.refused_key == KEY
    with pytest.raises(KMSUnavailable):
        process.unwrap(key.encrypted, PERIOD)


def test_unexpected_error_in_the_background_does_not_end_renewals(process: Process) -> None:
    def break_down(_: object) -> None:
        raise ZeroDivisionError

    process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE)
    process.generate(PERIOD)
    process.kms.during = break_down
    with pytest.raises(ZeroDivisionError):
        process.run_jobs()
    process.kms.during = lambda _call: None
    process.generate(PERIOD)
    assert process.run_jobs() == 1
    assert process.kms.count("decrypt") == 3


def no_thread(_: Callable[[], None]) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("options", [{"background": False}, {"start": no_thread}])
def test_without_threads_renewal_happens_in_line_at_the_hard_age(
    options: dict[str, Any],
) -> None:
    process = Process(**options)
    key = process.generate(PERIOD)
    process.clock.advance(MAX_AGE - 0.5)
    assert process.generate(PERIOD) == key
    assert len(process.kms.calls) == 2
    process.clock.advance(0.5)
    assert process.generate(PERIOD) == key
    assert (process.kms.count("generate_data_key"), process.kms.count("decrypt")) == (1, 2)


def thread_that_tells(done: threading.Event) -> Callable[[Callable[[], None]], None]:
    def start(job: Callable[[], None]) -> None:
        def run() -> None:
            job()
            done.set()

        start_thread(run)

    return start


def test_renewal_in_a_real_thread() -> None:
    renewed = threading.Event()

    process = Process(start=thread_that_tells(renewed))
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE)
    process.generate(PERIOD)
    assert renewed.wait(timeout=30)
    process.clock.advance(MAX_AGE / 2)
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert process.kms.count("decrypt") == 2


def test_request_does_not_wait_for_a_renewal_that_hangs() -> None:
    asked, release, done = threading.Event(), threading.Event(), threading.Event()
    released: list[bool] = []

    def hang(_: Call) -> None:
        asked.set()
        released.append(release.wait(timeout=30))

    process = Process(start=thread_that_tells(done))
    key = process.generate(PERIOD)
    process.kms.during = hang
    process.clock.advance(RENEWAL_AGE)
    try:
        assert process.generate(PERIOD) == key
        assert asked.wait(timeout=30)
        assert process.generate(PERIOD) == key
        assert process.unwrap(key.encrypted, PERIOD) == key
    finally:
        release.set()
    assert done.wait(timeout=30)
    assert released == [True]


def test_renewal_does_not_keep_the_process_alive() -> None:
    daemons: list[bool] = []
    ran = threading.Event()

    def tell() -> None:
        daemons.append(threading.current_thread().daemon)
        ran.set()

    start_thread(tell)
    assert ran.wait(timeout=30)
    assert daemons == [True]


# Outages


@pytest.mark.parametrize("error", [KMSUnavailable, TableUnavailable])
def test_outage_is_survived_in_writing_exactly_up_to_the_hard_cap(
    process: Process, error: type[Exception]
) -> None:
    key = process.generate(PERIOD)
    if error is KMSUnavailable:
        process.kms.set_state(State.UNREACHABLE)
    else:
        process.table.reachable = False
    process.clock.advance(MAX_STALE - 0.5)
    assert process.generate(PERIOD) == key
    process.clock.advance(0.5)
    with pytest.raises(error):
        process.generate(PERIOD)
    assert process.plaintexts() == set()


def test_reading_does_not_prolong_how_long_a_key_seals_unrenewed(process: Process) -> None:
    key = process.generate(PERIOD)
    process.table.reachable = False
    process.clock.advance(MAX_STALE - 1)
    process.unwrap(key.encrypted, PERIOD)
    assert process.generate(PERIOD) == key
    process.clock.advance(1)
    with pytest.raises(TableUnavailable):
        process.generate(PERIOD)
    assert process.unwrap(key.encrypted, PERIOD) == key


def test_last_key_seals_after_the_end_of_its_period_in_an_outage(process: Process) -> None:
    put_clock(process, NEXT - 10)
    key = process.generate(PERIOD)
    process.kms.set_state(State.UNREACHABLE)
    put_clock(process, NEXT - 10 + MAX_STALE - 0.5)
    assert process.generate(NEXT) == key
    put_clock(process, NEXT - 10 + MAX_STALE)
    with pytest.raises(KMSUnavailable):
        process.generate(NEXT)


def test_outage_at_the_first_write_raises_and_the_next_write_succeeds(process: Process) -> None:
    process.kms.set_state(State.UNREACHABLE)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    process.kms.set_state(State.ENABLED)
    process.clock.advance(1)
    assert process.generate(PERIOD).period == PERIOD


def test_revocation_stops_writing_at_the_maximum_age(process: Process) -> None:
    key = process.generate(PERIOD)
    process.kms.set_state(State.REFUSING)
    process.clock.advance(MAX_AGE - 0.5)
    assert process.generate(PERIOD) == key
    process.clock.advance(0.5)
    with pytest.raises(KMSUnavailable) as caught:
        process.generate(PERIOD)
    assert caught.value.refused_key == KEY
    assert process.plaintexts() == set()


def test_refusal_drops_the_next_key_too(process: Process) -> None:
    put_clock(process, NEXT - LEAD)
    process.generate(PERIOD)
    process.generate(PERIOD)
    process.run_jobs()
    assert len(process.plaintexts()) == 2
    process.kms.set_state(State.REFUSING)
    with pytest.raises(KMSUnavailable):
        process.unwrap(b"any", PERIOD)
    assert process.plaintexts() == set()
