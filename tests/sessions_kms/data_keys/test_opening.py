"""Data keys in use for decryption are renewed in advance, so that no request waits for KMS."""

import threading

import pytest

from sessions_kms.data_keys.cached_keyring import AHEAD
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import KMSUnavailable
from tests.sessions_kms.support.fakes import Call, State
from tests.sessions_kms.support.fleet import (
    DAY,
    LEAD,
    MAX_AGE,
    MAX_STALE,
    PERIOD,
    RENEWAL_AGE,
    Process,
    put_clock,
)

OLD_PERIOD = PERIOD - DAY


def open_key(process: Process) -> DataKey:
    """Return a data key of yesterday that this process has opened something with just now."""
    key = Process(process.kms, process.table, process.clock).generate(OLD_PERIOD)
    assert process.unwrap(key.encrypted, OLD_PERIOD) == key
    process.kms.calls.clear()
    process.jobs.clear()
    return key


def can_open(process: Process, key: DataKey) -> bool:
    return process.unwrap(key.encrypted, OLD_PERIOD).plaintext == key.plaintext


def test_key_that_is_opened_with_is_renewed_before_its_age(process: Process) -> None:
    key = open_key(process)
    process.clock.advance(MAX_AGE * AHEAD - 1)
    assert can_open(process, key)
    assert process.run_jobs() == 0
    process.clock.advance(1)
    for _ in range(20):
        assert can_open(process, key)
        assert process.run_jobs() == 1
        process.clock.advance(MAX_AGE * AHEAD)
    assert process.kms.count("decrypt") == 20


def test_unused_key_is_not_renewed(process: Process) -> None:
    open_key(process)
    process.clock.advance(MAX_AGE - 1)
    process.generate(PERIOD)
    process.run_jobs()
    assert process.kms.count("decrypt") == 1


def test_readers_do_not_fetch_the_key_of_the_next_period(process: Process) -> None:
    """Only writers need it."""
    put_clock(process, PERIOD + DAY - LEAD - MAX_AGE / 2)
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE - 1)
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert process.jobs == []
    assert process.generate(PERIOD) == key
    assert len(process.jobs) == 1


def test_current_key_is_renewed_by_readers_as_by_writers(process: Process) -> None:
    key = process.generate(PERIOD)
    process.kms.calls.clear()
    process.clock.advance(MAX_AGE - LEAD / 4)
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert process.run_jobs() == 1
    process.clock.advance(MAX_AGE / 2)
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert process.generate(PERIOD) == key
    assert process.kms.count("decrypt") == 1


def test_readers_renew_the_current_key_exactly_at_its_age_and_not_before(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(RENEWAL_AGE - 1)
    process.unwrap(key.encrypted, PERIOD)
    assert process.run_jobs() == 0
    process.clock.advance(1)
    process.unwrap(key.encrypted, PERIOD)
    assert process.run_jobs() == 1
    put_clock(process, PERIOD + DAY - LEAD - MAX_AGE / 4)
    process.generate(PERIOD)
    process.run_jobs()
    process.clock.advance(MAX_AGE / 2)  # A writer would fetch the next one now.
    process.unwrap(key.encrypted, PERIOD)
    assert process.run_jobs() == 0


@pytest.mark.parametrize("state", [State.UNREACHABLE, State.REFUSING])
def test_renewal_that_failed_is_not_tried_again_at_once(process: Process, state: State) -> None:
    key = open_key(process)
    process.clock.advance(MAX_AGE * AHEAD)
    assert can_open(process, key)
    process.kms.set_state(state)
    assert process.run_jobs() == 1
    if state is State.REFUSING:  # What a key unwrapped that is refused is let go of.
        assert process.plaintexts() == set()
        return
    assert can_open(process, key)
    assert process.run_jobs() == 0


def test_probe_that_failed_is_not_sent_again_at_once(process: Process) -> None:
    key = open_key(process)
    process.clock.advance(MAX_AGE * AHEAD)
    assert can_open(process, key)
    process.kms.set_state(State.UNREACHABLE)
    process.run_jobs()
    process.clock.advance(MAX_AGE / 2)
    assert can_open(process, key)
    assert process.run_jobs() == 1
    assert can_open(process, key)
    assert process.run_jobs() == 0


def test_silent_kms_delays_nobody_with_a_cached_key(process: Process) -> None:
    key = open_key(process)
    process.clock.advance(MAX_AGE * AHEAD)
    assert can_open(process, key)
    process.kms.set_state(State.UNREACHABLE)
    assert process.run_jobs() == 1
    for _ in range(10):
        process.clock.advance((MAX_STALE - MAX_AGE) / 12)
        before = process.kms.count("decrypt")
        assert can_open(process, key)
        assert process.kms.count("decrypt") == before
        assert process.run_jobs() == 1  # the probe


def test_only_one_caller_renews_an_aged_key(process: Process) -> None:
    key = open_key(process)
    process.clock.advance(MAX_AGE)
    asked, answered = threading.Event(), threading.Event()

    def hang(_: Call) -> None:
        asked.set()
        answered.wait(30)
        raise KMSUnavailable

    process.kms.during = hang
    first = threading.Thread(target=can_open, args=(process, key))
    first.start()
    assert asked.wait(30)
    for _ in range(10):
        assert can_open(process, key)
    answered.set()
    first.join()
