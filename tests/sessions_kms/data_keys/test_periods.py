"""CachingKeyring, sealing: the change of periods, planted items, the fleet."""

import threading

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.cached_keyring import CachingKeyring
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.storage.published_keys import PublishedKey
from tests.sessions_kms.support import fakes
from tests.sessions_kms.support.fleet import (
    DAY,
    LEAD,
    MAX_AGE,
    NOW,
    PERIOD,
    RENEWAL_AGE,
    Process,
    kms_keyring,
    make_elsewhere,
    put_clock,
)
from tests.support.clock import FakeClock

NEXT = PERIOD + DAY


# The change of periods


def test_next_key_is_fetched_ahead_and_seals_from_its_period_on(process: Process) -> None:
    put_clock(process, NEXT - LEAD - 1)
    key = process.generate(PERIOD)
    assert process.jobs == []
    process.clock.advance(1)
    assert process.generate(PERIOD) == key
    assert process.run_jobs() == 1
    assert set(process.table.keys) == {PERIOD, NEXT}
    assert process.generate(PERIOD) == key
    assert process.jobs == []
    put_clock(process, NEXT)
    before = len(process.kms.calls)
    following = process.generate(NEXT)
    assert (following.period, following.encrypted) == (NEXT, process.table.keys[NEXT].encrypted)
    assert process.unwrap(key.encrypted, PERIOD) == key
    assert len(process.kms.calls) == before


@pytest.mark.parametrize(("chance", "lead"), [(0.0, 75), (0.5, 150), (1.0, 225)])
def test_lead_is_jittered(chance: float, lead: float) -> None:
    process = Process(chance=lambda: chance)
    put_clock(process, NEXT - lead - 1)
    process.generate(PERIOD)
    process.generate(PERIOD)
    assert process.jobs == []
    process.clock.advance(1)
    process.generate(PERIOD)
    assert process.run_jobs() == 1
    assert NEXT in process.table.keys


def test_next_key_is_not_evicted_before_its_period(process: Process) -> None:
    process = Process(max_entries=2)
    put_clock(process, NEXT - LEAD)
    process.generate(PERIOD)
    process.generate(PERIOD)
    process.run_jobs()
    for _ in range(20):
        key = make_elsewhere(process.kms, PERIOD - DAY)
        process.unwrap(key.encrypted, PERIOD - DAY)
    before = len(process.kms.calls)
    put_clock(process, NEXT)
    process.generate(NEXT)
    assert len(process.kms.calls) == before


def test_period_that_rolled_over_unprepared_is_sealed_with_the_last_key_meanwhile(
    process: Process,
) -> None:
    put_clock(process, NEXT - LEAD - 1)
    key = process.generate(PERIOD)
    put_clock(process, NEXT)
    assert process.generate(NEXT) == key
    assert len(process.kms.calls) == 2
    process.run_jobs()
    assert process.generate(NEXT).period == NEXT
    assert len(process.kms.calls) == 4


def test_key_of_a_period_that_has_not_begun_never_seals(process: Process) -> None:
    """A clock set back, or another thread that read it just before midnight."""
    put_clock(process, NEXT)
    process.generate(NEXT)
    process.clock.advance(-1)
    for _ in range(3):
        assert process.generate(PERIOD).period == PERIOD
    assert len(process.kms.calls) == 4
    process.clock.advance(1)
    assert process.generate(NEXT).period == NEXT
    assert len(process.kms.calls) == 4


def test_key_of_a_period_that_has_not_begun_does_not_seal_in_an_outage_either(
    process: Process,
) -> None:
    put_clock(process, NEXT)
    process.generate(NEXT)
    process.kms.set_state(fakes.State.UNREACHABLE)
    process.clock.advance(-1)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)


def test_next_key_that_grew_old_is_renewed_before_it_seals(process: Process) -> None:
    put_clock(process, NEXT - LEAD)
    process.generate(PERIOD)
    process.generate(PERIOD)
    process.run_jobs()
    put_clock(process, NEXT - LEAD + MAX_AGE)
    before = process.kms.count("decrypt")
    assert process.generate(NEXT).period == NEXT
    assert process.kms.count("decrypt") == before + 1


@pytest.mark.slow
def test_a_week_of_steady_writing_waits_for_kms_only_once() -> None:
    process = Process()
    in_line = 0
    for moment in range(NOW, NOW + 7 * DAY, 10):
        put_clock(process, moment)
        before = len(process.kms.calls)
        key = process.generate(moment - moment % DAY)
        in_line += len(process.kms.calls) - before
        assert key.period == moment - moment % DAY
        process.run_jobs()
    assert in_line == 2
    assert process.kms.count("generate_data_key") == 8
    assert process.kms.count("decrypt") <= 7 * DAY / (RENEWAL_AGE - 20)


# Planted items


def test_process_on_its_own_key_returns_to_the_repaired_shared_one(process: Process) -> None:
    foreign = make_elsewhere(process.kms, key_id=fakes.FOREIGN_KEY)
    process.table.keys[PERIOD] = PublishedKey(PERIOD, foreign.encrypted, NOW, NOW + DAY)
    own = process.generate(PERIOD)
    assert own.period == PERIOD
    assert own.encrypted != foreign.encrypted
    calls = len(process.kms.calls)
    for _ in range(100):
        assert process.generate(PERIOD) == own
        assert process.unwrap(own.encrypted, PERIOD) == own
    assert len(process.kms.calls) == calls
    mended = make_elsewhere(process.kms)
    process.table.keys[PERIOD] = PublishedKey(PERIOD, mended.encrypted, NOW, NOW + DAY)
    process.clock.advance(RENEWAL_AGE)
    assert process.generate(PERIOD) == own
    process.run_jobs()
    assert process.generate(PERIOD) == mended
    assert process.unwrap(own.encrypted, PERIOD) == own


def test_rewrapped_item_is_adopted_at_the_next_renewal(process: Process) -> None:
    process = Process(key_id=fakes.KEY)
    old = make_elsewhere(process.kms, key_id=fakes.OLD_KEY)
    process.table.keys[PERIOD] = PublishedKey(PERIOD, old.encrypted, NOW, NOW + DAY)
    assert process.generate(PERIOD) == old
    rewrapped = make_elsewhere(process.kms)
    process.table.keys[PERIOD] = PublishedKey(PERIOD, rewrapped.encrypted, NOW, NOW + DAY)
    process.clock.advance(MAX_AGE)
    assert process.generate(PERIOD) == rewrapped


# The fleet


def test_two_processes_that_race_for_a_period_end_on_one_key() -> None:
    kms, table, clock = fakes.FakeKMS(), fakes.FakeDataKeyTable(), FakeClock(NOW)
    both_generated = threading.Barrier(2)
    table.before_put = lambda _: both_generated.wait(timeout=30)
    fleet = [Process(kms, table, clock) for _ in range(2)]
    keys = fakes.together(2, lambda index: fleet[index].generate(PERIOD))
    assert keys[0] == keys[1]
    assert table.puts == 1
    assert (kms.count("generate_data_key"), kms.count("decrypt")) == (2, 4)
    discarded = {process.generate(PERIOD).plaintext for process in fleet}
    assert [process.plaintexts() for process in fleet] == [discarded, discarded]


def test_fleet_of_many_threads_calls_kms_once_per_process() -> None:
    kms, table, clock = fakes.FakeKMS(), fakes.FakeDataKeyTable(), FakeClock(NOW)
    fleet = [Process(kms, table, clock) for _ in range(4)]
    keys = fakes.together(32, lambda index: fleet[index % 4].generate(PERIOD))
    assert len(set(keys)) == table.puts == 1
    assert kms.count("generate_data_key") <= 4
    # Each process asks twice, and twice more if it lost the race for publishing.
    assert 8 <= len(kms.calls) <= 14


def test_processes_with_skewed_clocks_read_each_others_sessions() -> None:
    kms, table = fakes.FakeKMS(), fakes.FakeDataKeyTable()
    ahead = Process(kms, table, FakeClock(NEXT + 240))
    behind = Process(kms, table, FakeClock(NEXT - 60))
    sealed = ahead.generate(NEXT)
    assert behind.unwrap(sealed.encrypted, NEXT) == sealed
    assert behind.generate(PERIOD).period == PERIOD
    behind.clock.advance(60)
    assert behind.generate(NEXT).period == PERIOD  # Meanwhile, until the renewal is done.
    behind.run_jobs()
    assert behind.generate(NEXT) == sealed


def test_fleet_of_one_constructed_with_defaults_works() -> None:
    direct = kms_keyring(fakes.FakeKMS())
    cache = CachingKeyring(
        direct, context=direct.context, max_age=300, max_stale=3600, period_length=DAY
    )
    assert run_sync(cache.generate(PERIOD)).period == PERIOD
