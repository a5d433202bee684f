"""CachingKeyring, reading: outages, refusals and bad blobs are distinguished."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from sessions_kms.aws.kms import DataKeyResponse, IncorrectKey
from sessions_kms.concurrency.single_flight import _Flight
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from tests.sessions_kms.support.fakes import FOREIGN_KEY, KEY, OLD_KEY, Call, FakeKMS, State
from tests.sessions_kms.support.fleet import (
    DAY,
    MAX_AGE,
    MAX_STALE,
    PERIOD,
    RENEWAL_AGE,
    Process,
    decrypts,
    earlier_key,
    read_earlier_key,
)

Stale = tuple[Process, Callable[[], DataKey]]


@pytest.fixture
def process() -> Process:
    return Process(background=False)


# Outages


def test_outage_before_the_maximum_age_is_not_noticed(process: Process) -> None:
    key = read_earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE - 0.5)
    assert process.read(key) == key


@pytest.mark.parametrize("state", [State.UNREACHABLE, State.CUTTING, State.MISNAMING])
def test_outage_is_survived_exactly_up_to_the_hard_cap(process: Process, state: State) -> None:
    key = read_earlier_key(process)
    process.kms.set_state(state)
    process.clock.advance(MAX_STALE - 0.5)
    assert process.read(key) == key
    process.clock.advance(0.5)
    process.fail_to_read(key)
    assert process.plaintexts() == set()


def test_hard_cap_counts_from_the_last_successful_unwrap(process: Process) -> None:
    key = read_earlier_key(process)
    process.clock.advance(MAX_AGE)
    process.read(key)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_STALE - 0.5)
    assert process.read(key) == key
    process.clock.advance(0.5)
    process.fail_to_read(key)


def test_outage_at_a_cold_start_raises(process: Process) -> None:
    key = earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    assert process.fail_to_read(key) is None


def test_keys_beyond_the_hard_cap_are_dropped_without_being_used(process: Process) -> None:
    read_earlier_key(process)
    process.clock.advance(MAX_STALE)
    other = read_earlier_key(process)
    assert process.plaintexts() == {other.plaintext}


def test_after_a_failure_kms_is_left_alone_for_a_second(process: Process) -> None:
    key = earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    for seconds, calls in ((0, 1), (0.5, 1), (0.5, 2), (0.5, 2)):
        process.clock.advance(seconds)
        with pytest.raises(KMSUnavailable):
            process.read(key)
        assert decrypts(process) == calls


def test_after_a_failure_a_stale_key_serves_without_asking_for_a_second(process: Process) -> None:
    key = read_earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    for seconds, calls in ((0, 2), (0.5, 2), (0.5, 3)):
        process.clock.advance(seconds)
        assert process.read(key) == key
        assert decrypts(process) == calls


def test_end_of_an_outage_is_found_after_the_back_off(process: Process) -> None:
    key = earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    process.fail_to_read(key)
    process.kms.set_state(State.ENABLED)
    process.fail_to_read(key)
    process.clock.advance(1)
    assert process.read(key) == key


def test_who_has_a_stale_key_does_not_wait_for_the_one_who_probes(process: Process) -> None:
    key = read_earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    process.read(key)
    process.clock.advance(1)
    other = threading.Thread(target=process.unwrap, args=(key.encrypted, key.period))
    waits: list[bool] = []

    def other_comes(_: Call) -> None:
        other.start()
        other.join(timeout=10)
        waits.append(other.is_alive())

    process.kms.during = other_comes
    assert process.read(key) == key
    other.join(timeout=30)
    assert waits == [False]


# Outages, with a background in which KMS is probed


@pytest.fixture(params=["read", "write"])
def stale(request: pytest.FixtureRequest) -> Stale:
    return stale_in_an_outage(request.param)


def test_who_has_a_stale_key_waits_for_no_probe_of_a_kms_that_failed(stale: Stale) -> None:
    process, asked = stale
    for _ in range(5):
        process.clock.advance(1)
        before = len(process.kms.calls)
        assert asked() == asked()
        assert len(process.kms.calls) == before
        assert process.run_jobs() == 1
        assert len(process.kms.calls) == before + 1


def test_end_of_an_outage_is_found_by_a_probe_in_the_background(stale: Stale) -> None:
    process, asked = stale
    process.clock.advance(1)
    process.kms.set_state(State.ENABLED)
    asked()
    process.run_jobs()
    before = len(process.kms.calls)
    process.clock.advance(RENEWAL_AGE - 0.5)
    asked()
    assert (process.jobs, len(process.kms.calls)) == ([], before)


def test_refusal_of_a_background_probe_takes_effect_immediately(stale: Stale) -> None:
    process, asked = stale
    process.clock.advance(1)
    process.kms.set_state(State.REFUSING)
    asked()
    process.run_jobs()
    assert process.plaintexts() == set()
    with pytest.raises(KMSUnavailable) as caught:
        asked()
    assert caught.value.refused_key == KEY


def test_background_that_never_runs_hides_no_refusal_for_longer_than_the_maximum_age(
    stale: Stale,
) -> None:
    process, asked = stale
    process.kms.set_state(State.REFUSING)
    process.clock.advance(MAX_AGE - 0.5)
    asked()
    process.clock.advance(0.5)
    with pytest.raises(KMSUnavailable):
        asked()


@pytest.mark.parametrize("use", ["read", "write"])
def test_kms_is_probed_in_line_where_no_thread_can_be_started(use: str) -> None:
    def no_thread(_: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    process, asked = stale_in_an_outage(use, start=no_thread)
    process.clock.advance(1)
    before = len(process.kms.calls)
    asked()
    assert len(process.kms.calls) == before + 1


def test_end_of_a_refusal_is_found_by_a_caller_despite_the_background_probe() -> None:
    process = Process()
    key = read_earlier_key(process, key_id=OLD_KEY)
    process.kms.set_state(State.REFUSING, KEY)
    process.clock.advance(MAX_AGE)
    process.fail_to_read(key)
    process.kms.set_state(State.ENABLED, KEY)
    process.clock.advance(1)
    assert process.read(key) == key


def test_hanging_probe_delays_no_other_key() -> None:
    process = Process()
    keys = [earlier_key(process, period=PERIOD - DAY * age) for age in (1, 2)]

    def read_all() -> list[DataKey]:
        return [process.read(key) for key in keys]

    read_all()
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    read_all()
    process.clock.advance(1)
    before = decrypts(process)
    assert read_all() == keys
    assert (len(process.jobs), decrypts(process)) == (1, before)


def stale_in_an_outage(use: str, **options: Any) -> Stale:
    """Give a process in an outage that it has met once, and the use of the stale key it holds."""
    process = Process(**options)
    key = earlier_key(process)
    uses = {
        "read": partial(process.unwrap, key.encrypted, key.period),
        "write": partial(process.generate, PERIOD),
    }
    asked = uses[use]
    asked()
    process.kms.set_state(State.UNREACHABLE)
    process.clock.advance(MAX_AGE)
    assert asked() == asked()
    assert process.jobs == [], "KMS is left alone for a second"
    failures = process.cache._flights._failures.values()
    assert [failure.error.__traceback__ for failure in failures] == [None]
    return process, asked


def test_who_has_no_key_waits_for_the_one_who_probes(process: Process) -> None:
    key = earlier_key(process)
    process.kms.set_state(State.UNREACHABLE)
    process.fail_to_read(key)
    process.clock.advance(1)
    process.kms.set_state(State.ENABLED)
    got: list[DataKey] = []
    other = threading.Thread(target=lambda: got.append(process.read(key)))
    came, enter = threading.Event(), process.cache._flights._enter

    def enter_and_tell(*arguments: Any) -> _Flight[DataKey]:
        try:
            return enter(*arguments)
        finally:
            came.set()

    def other_comes(_: Call) -> None:
        process.cache._flights._enter = enter_and_tell  # type: ignore[method-assign,assignment]
        other.start()
        assert came.wait(timeout=30)

    process.kms.during = other_comes
    assert process.read(key) == key
    other.join(timeout=30)
    assert (got, decrypts(process)) == ([key], 2)


def test_failure_is_forgotten_once_the_key_came_by_another_way(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(MAX_AGE)
    process.kms.set_state(State.UNREACHABLE)
    process.unwrap(key.encrypted, PERIOD)
    process.kms.set_state(State.ENABLED)
    process.generate(PERIOD)
    assert not process.cache._flights._failures


def test_key_that_no_kms_key_wrapped_blames_nothing(process: Process) -> None:
    current = process.generate(PERIOD)
    foreign = earlier_key(process, key_id=FOREIGN_KEY)
    assert process.fail_to_read(foreign) is None
    assert process.plaintexts() == {current.plaintext}


def test_stale_keys_serve_while_kms_attributes_keys_to_others() -> None:
    class Mistaken(FakeKMS):
        mistaken = False

        def decrypt(
            self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
        ) -> DataKeyResponse:
            if self.mistaken:
                raise IncorrectKey
            return super().decrypt(key_id, ciphertext, context)

    kms = Mistaken()
    process = Process(kms, background=False)
    key = read_earlier_key(process)
    kms.mistaken = True
    process.clock.advance(MAX_STALE - 0.5)
    assert process.read(key) == key


# Refusals


def test_revocation_takes_effect_at_the_maximum_age(process: Process) -> None:
    key = read_earlier_key(process)
    process.kms.set_state(State.REFUSING)
    process.clock.advance(MAX_AGE - 0.5)
    assert process.read(key) == key
    process.clock.advance(0.5)
    assert process.fail_to_read(key) == KEY
    assert process.plaintexts() == set()


def test_refusal_drops_all_that_this_kms_key_unwrapped(process: Process) -> None:
    current = process.generate(PERIOD)
    key = read_earlier_key(process)
    process.kms.set_state(State.REFUSING)
    newcomer = b"any other blob"
    with pytest.raises(KMSUnavailable):
        process.unwrap(newcomer, PERIOD)
    for blob, period in ((current.encrypted, PERIOD), (key.encrypted, key.period)):
        with pytest.raises(KMSUnavailable):
            process.unwrap(blob, period)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert process.plaintexts() == set()


def test_refusal_by_a_previous_kms_key_fails_its_records_only(process: Process) -> None:
    current = process.generate(PERIOD)
    old = read_earlier_key(process, key_id=OLD_KEY)
    process.kms.set_state(State.REFUSING, OLD_KEY)
    process.clock.advance(MAX_AGE)
    assert process.fail_to_read(old) == OLD_KEY
    assert process.plaintexts() == {current.plaintext}
    assert process.unwrap(current.encrypted, PERIOD) == current
    assert process.generate(PERIOD) == current


def test_refusal_by_one_previous_kms_key_takes_effect_while_another_still_unwraps() -> None:
    process = Process(background=False, decrypt_key_ids=(OLD_KEY, FOREIGN_KEY))
    old, oldest = (earlier_key(process, key_id=key_id) for key_id in (OLD_KEY, FOREIGN_KEY))
    process.read(old)
    process.kms.set_state(State.REFUSING, OLD_KEY)
    process.clock.advance(MAX_AGE)
    assert process.read(oldest) == oldest
    assert process.fail_to_read(old) == OLD_KEY
    assert process.plaintexts() == {oldest.plaintext}


def test_refusal_by_one_previous_kms_key_is_not_hidden_by_an_outage_of_another() -> None:
    process = Process(background=False, decrypt_key_ids=(OLD_KEY, FOREIGN_KEY))
    old = read_earlier_key(process, key_id=OLD_KEY)
    process.kms.set_state(State.REFUSING, OLD_KEY)
    process.kms.set_state(State.UNREACHABLE, FOREIGN_KEY)
    process.clock.advance(MAX_AGE)
    assert process.fail_to_read(old) == OLD_KEY
    assert process.plaintexts() == set()


def test_refusal_by_the_current_kms_key_keeps_keys_of_a_previous_one(process: Process) -> None:
    old = read_earlier_key(process, key_id=OLD_KEY)
    process.kms.set_state(State.REFUSING, KEY)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert process.read(old) == old


def test_refusal_by_the_current_kms_key_ends_stale_keys_of_others(process: Process) -> None:
    old = read_earlier_key(process, key_id=OLD_KEY)
    process.kms.set_state(State.REFUSING, KEY)
    process.clock.advance(MAX_AGE)
    assert process.fail_to_read(old) == KEY


def test_refusal_that_ends_is_found_after_the_back_off(process: Process) -> None:
    key = earlier_key(process)
    process.kms.set_state(State.REFUSING)
    process.fail_to_read(key)
    process.kms.set_state(State.ENABLED)
    process.clock.advance(1)
    assert process.read(key) == key


# Bad blobs


def test_bad_blob_touches_no_other_key(process: Process) -> None:
    current = process.generate(PERIOD)
    key = read_earlier_key(process)
    with pytest.raises(InvalidRecord):
        process.unwrap(b"forged", PERIOD)
    assert process.plaintexts() == {current.plaintext, key.plaintext}
