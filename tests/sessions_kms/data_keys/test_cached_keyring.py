"""CachingKeyring, reading: age, bounds, strict mode, secrecy."""

import pytest

from sessions_kms.exceptions import (
    InvalidRecord,
    KMSUnavailable,
    StoreUnavailable,
    TableUnavailable,
)
from tests.sessions_kms.support.fakes import KEY, State
from tests.sessions_kms.support.fleet import (
    DAY,
    MAX_AGE,
    MAX_STALE,
    NOW,
    PERIOD,
    Process,
    decrypts,
    earlier_key,
    read_earlier_key,
)
from tests.support.clock import FakeClock


@pytest.fixture
def process() -> Process:
    return Process(background=False)


# Age


def test_second_read_does_not_call_kms(process: Process) -> None:
    key = earlier_key(process)
    for _ in range(1000):
        assert process.read(key) == key
    assert decrypts(process) == 1


def test_kms_is_called_again_exactly_at_the_maximum_age(process: Process) -> None:
    key = read_earlier_key(process)
    process.clock.advance(MAX_AGE - 0.5)
    process.read(key)
    assert decrypts(process) == 1
    process.clock.advance(0.5)
    process.read(key)
    assert decrypts(process) == 2
    process.clock.advance(MAX_AGE - 0.5)
    process.read(key)
    assert decrypts(process) == 2


def test_age_counts_from_before_the_kms_call(process: Process) -> None:
    key = earlier_key(process)
    process.kms.during = lambda _call: process.clock.advance(2)
    process.read(key)
    process.kms.during = lambda _call: None
    process.clock.advance(MAX_AGE - 2)
    process.read(key)
    assert decrypts(process) == 2


def test_wall_clock_set_back_makes_no_key_live_longer() -> None:
    steady = FakeClock(0)
    process = Process(background=False, monotonic=steady)
    key = read_earlier_key(process)
    process.clock.advance(-DAY)
    steady.advance(MAX_AGE - 0.5)
    process.read(key)
    assert decrypts(process) == 1
    steady.advance(0.5)
    process.read(key)
    assert decrypts(process) == 2
    process.kms.set_state(State.UNREACHABLE)
    steady.advance(MAX_STALE)
    process.fail_to_read(key)
    assert process.plaintexts() == set()


def test_suspended_machine_makes_no_key_live_longer() -> None:
    steady = FakeClock(0)  # Stands still while the machine is suspended.
    process = Process(background=False, monotonic=steady)
    key = read_earlier_key(process)
    process.clock.advance(MAX_AGE)
    process.read(key)
    assert decrypts(process) == 2


# What a hit requires


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("more", "earlier"), [(b"", DAY), (b"\0", 0)])
def test_blob_of_another_period_or_length_fails_cold_and_warm(
    process: Process, warm: bool, more: bytes, earlier: int
) -> None:
    key = earlier_key(process)
    if warm:
        process.read(key)
    with pytest.raises(InvalidRecord):
        process.unwrap(key.encrypted + more, key.period - earlier)


# Bounds


def test_least_recently_used_key_is_evicted_first() -> None:
    process = Process(background=False, max_entries=3)
    keys = [earlier_key(process) for _ in range(4)]
    for key in (*keys[:3], keys[0], keys[3]):
        process.read(key)
    assert decrypts(process) == 4
    process.unwrap(keys[0].encrypted, keys[0].period)
    assert decrypts(process) == 4
    process.unwrap(keys[1].encrypted, keys[1].period)
    assert decrypts(process) == 5
    assert len(process.plaintexts()) == 3


def test_flood_of_valid_keys_does_not_evict_the_current_one() -> None:
    process = Process(background=False, max_entries=10)
    current = process.generate(PERIOD)
    for _ in range(50):
        key = earlier_key(process)
        process.read(key)
    assert len(process.plaintexts()) == 10
    before = len(process.kms.calls)
    assert process.generate(PERIOD) == current
    assert process.unwrap(current.encrypted, PERIOD) == current
    assert len(process.kms.calls) == before


def test_flood_of_forged_blobs_costs_a_call_each_and_evicts_nothing(process: Process) -> None:
    key = read_earlier_key(process)
    current = process.generate(PERIOD)
    before = decrypts(process)
    for _ in range(3):
        for number in range(200):
            with pytest.raises(InvalidRecord):
                process.unwrap(b"forged %d" % number, PERIOD)
    assert decrypts(process) == before + 200
    assert process.read(key) == key
    assert process.unwrap(current.encrypted, PERIOD) == current
    assert decrypts(process) == before + 200


def test_more_forged_blobs_than_are_remembered_stay_bounded(process: Process) -> None:
    for number in range(1000):
        with pytest.raises(InvalidRecord):
            process.unwrap(b"forged %d" % number, PERIOD)
    assert len(process.cache._flights._failures) == 256


def test_forged_blob_is_tried_again_after_five_seconds(process: Process) -> None:
    for seconds, calls in ((0, 1), (4.5, 1), (0.5, 2), (4.5, 2)):
        process.clock.advance(seconds)
        with pytest.raises(InvalidRecord) as caught:
            process.unwrap(b"forged", PERIOD)
        assert caught.value.reason == "encrypted_key"
        assert decrypts(process) == calls


# Strict mode


def test_strict_mode_calls_kms_at_each_write_and_keeps_the_key_for_reading() -> None:
    process = Process(background=False, period_length=0)
    keys = [process.generate(PERIOD) for _ in range(3)]
    assert len({key.plaintext for key in keys}) == 3
    for key in keys:
        assert process.unwrap(key.encrypted, PERIOD) == key
    assert (process.kms.count("generate_data_key"), decrypts(process)) == (3, 3)


def test_strict_mode_writes_nothing_in_an_outage_but_reads_on() -> None:
    process = Process(background=False, period_length=0)
    key = process.generate(PERIOD)
    process.kms.set_state(State.UNREACHABLE)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert process.unwrap(key.encrypted, PERIOD) == key


def test_refusal_at_a_write_in_strict_mode_drops_cached_keys() -> None:
    process = Process(background=False, period_length=0)
    key = process.generate(PERIOD)
    process.kms.set_state(State.REFUSING)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    with pytest.raises(KMSUnavailable):
        process.unwrap(key.encrypted, PERIOD)
    assert process.plaintexts() == set()


# Secrecy


def test_error_that_is_remembered_carries_no_frames(process: Process) -> None:
    process.kms.set_state(State.UNREACHABLE)
    raised: list[StoreUnavailable] = []
    for _ in range(3):
        with pytest.raises(KMSUnavailable) as caught:
            process.unwrap(b"any", PERIOD)
        raised.append(caught.value)
    assert len({id(error) for error in raised}) == 3
    failures = process.cache._flights._failures.values()
    assert [failure.error.__traceback__ for failure in failures] == [None]


def test_errors_keep_their_class_and_message(process: Process) -> None:
    process.table.reachable = False
    for _ in range(2):
        with pytest.raises(TableUnavailable, match=r"^The session table cannot be used"):
            process.generate(PERIOD)


def test_log_reports_failures_without_key_material(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    key = process.generate(PERIOD)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    process.generate(PERIOD)
    process.kms.set_state(State.REFUSING)
    process.clock.advance(1)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    warning, error = caplog.messages
    assert "AWS KMS cannot be used" in warning
    assert "until they are too old" in warning
    assert "refused" in error
    assert KEY in error
    assert repr(key.plaintext)[2:-1] not in caplog.text
    assert repr(key.encrypted)[2:-1] not in caplog.text


def test_number_of_kms_calls_follows_the_formula(process: Process) -> None:
    """P·K / A a second: one process, three live keys, for an hour, and nothing by the read."""
    old = [earlier_key(process, period=PERIOD - days * DAY) for days in (1, 2)]
    current = process.generate(PERIOD)
    before = len(process.kms.calls)
    for _ in range(3600):
        process.clock.advance(1)
        for key in (*old, current):
            process.read(key)
    assert process.clock() == NOW + 3600
    assert len(process.kms.calls) - before == 3 * 3600 // MAX_AGE
