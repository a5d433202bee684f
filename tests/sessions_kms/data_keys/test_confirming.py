"""Two responses of KMS: for a data key that encrypts, and for one that decrypts nothing."""

from dataclasses import replace

import pytest

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.cached_keyring import BACK_OFF, DIFFERENT
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from tests.sessions_kms.support.fakes import KEY, OLD_KEY, FakeKMS, State
from tests.sessions_kms.support.fleet import (
    MAX_AGE,
    PERIOD,
    Process,
    decrypts,
    earlier_key,
    kms_keyring,
)

Log = pytest.LogCaptureFixture
DIFFER = "Two responses of KMS about one data key differ. It is not used."


class LyingKMS(FakeKMS):
    """Unwraps to other bytes, a given number of times."""

    lies = 0

    def decrypt(self, *asked: object) -> DataKeyResponse:
        response = super().decrypt(*asked)  # type: ignore[arg-type]
        if not self.lies:
            return response
        self.lies -= 1
        return replace(response, plaintext=bytes(32))


@pytest.fixture
def kms() -> LyingKMS:
    return LyingKMS()


@pytest.fixture
def process(kms: LyingKMS) -> Process:
    return Process(kms)


def confirm_key(process: Process, key: DataKey) -> DataKey:
    return run_sync(process.cache.confirmed(key))


def unwrap_key(process: Process, key: DataKey) -> DataKey:
    return process.read(key)


def test_kms_is_called_once_more_and_then_trusted(process: Process) -> None:
    key = unwrap_key(process, earlier_key(process))
    assert [confirm_key(process, key) for _ in range(3)] == [key] * 3
    assert decrypts(process) == 2


def test_renewed_key_was_said_twice(process: Process) -> None:
    key = process.generate(PERIOD)
    process.clock.advance(MAX_AGE)
    assert process.generate(PERIOD) == key
    before = decrypts(process)
    assert confirm_key(process, key) == key
    assert decrypts(process) == before


# A data key that encrypts


def test_generated_key_is_neither_published_nor_used_if_kms_contradicts_itself(
    process: Process, kms: LyingKMS, log: Log
) -> None:
    kms.lies = 1
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert process.table.keys == {}
    assert process.plaintexts() == set()
    assert DIFFER in log.messages
    process.clock.advance(BACK_OFF)
    assert process.generate(PERIOD).encrypted == process.table.keys[PERIOD].encrypted


def test_generated_key_that_kms_then_calls_invalid_is_an_outage(
    process: Process, kms: LyingKMS, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(*_: object) -> DataKeyResponse:
        raise InvalidRecord("encrypted_key")

    monkeypatch.setattr(kms, "decrypt", reject)
    for asked in (process.generate, Process(kms, period_length=0).generate):
        with pytest.raises(KMSUnavailable):
            asked(PERIOD)
    assert process.table.keys == {}


@pytest.mark.parametrize("lies", [1, 2])
def test_adopted_key_is_not_used_if_kms_contradicts_itself(
    process: Process, kms: LyingKMS, log: Log, lies: int
) -> None:
    right = Process(kms, process.table, process.clock).generate(PERIOD)
    kms.lies = lies
    if lies == 1:
        with pytest.raises(KMSUnavailable):
            process.generate(PERIOD)
        assert process.plaintexts() == set()
        assert DIFFER in log.messages
        process.clock.advance(BACK_OFF)
        assert process.generate(PERIOD) == right
    else:  # Two responses with the same wrong bytes cannot be told from two right ones.
        assert process.generate(PERIOD).plaintext == bytes(32)


def test_own_key_for_each_write_is_confirmed(kms: LyingKMS) -> None:
    process = Process(kms, period_length=0)
    kms.lies = 1
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert process.generate(PERIOD).plaintext != bytes(32)
    assert (kms.count("generate_data_key"), kms.count("decrypt")) == (2, 2)


def test_confirmed_key_goes_on_encrypting_while_a_renewal_differs(
    process: Process, kms: LyingKMS, log: Log
) -> None:
    right = process.generate(PERIOD)
    process.clock.advance(MAX_AGE)
    kms.lies = 1
    assert process.generate(PERIOD) == right
    assert DIFFERENT in log.messages
    process.clock.advance(BACK_OFF)
    assert process.generate(PERIOD) == right
    assert kms.lies == 0


def test_renewal_of_a_key_costs_one_call(process: Process) -> None:
    process.generate(PERIOD)
    before = decrypts(process)
    process.clock.advance(MAX_AGE)
    process.generate(PERIOD)
    assert decrypts(process) == before + 1


def test_key_that_was_read_once_with_other_bytes_encrypts_nothing(
    process: Process, kms: LyingKMS, log: Log
) -> None:
    """One response came for reading, the other one for writing: nobody knows which is right."""
    right = Process(kms, process.table, process.clock).generate(PERIOD)
    kms.lies = 1
    assert unwrap_key(process, right).plaintext == bytes(32)
    with pytest.raises(KMSUnavailable):
        process.generate(PERIOD)
    assert bytes(32) not in process.plaintexts()
    assert DIFFERENT in log.messages
    process.clock.advance(BACK_OFF)
    assert process.generate(PERIOD) == right


# A data key that decrypts nothing


def test_contradicted_bytes_are_dropped_from_the_cache(
    process: Process, kms: LyingKMS, log: Log
) -> None:
    right, other = earlier_key(process), unwrap_key(process, earlier_key(process))
    kms.lies = 1
    wrong = unwrap_key(process, right)
    assert wrong.plaintext == bytes(32)
    assert confirm_key(process, wrong) == right
    assert log.messages == [DIFFERENT]
    assert bytes(32) not in process.plaintexts()
    before = decrypts(process)
    assert unwrap_key(process, other) == other
    assert decrypts(process) == before


def test_differing_bytes_are_trusted_only_after_confirmation(
    process: Process, kms: LyingKMS
) -> None:
    right = earlier_key(process)
    kms.lies = 1
    wrong = unwrap_key(process, right)
    assert confirm_key(process, wrong) == right
    before = decrypts(process)
    assert [confirm_key(process, right) for _ in range(2)] == [right] * 2
    assert decrypts(process) == before + 1


def test_refusal_drops_data_keys_of_the_kms_key(process: Process, kms: LyingKMS) -> None:
    key = unwrap_key(process, earlier_key(process))
    kms.set_state(State.REFUSING, KEY)
    with pytest.raises(KMSUnavailable):
        confirm_key(process, key)
    assert process.plaintexts() == set()


def test_failure_for_one_key_does_not_affect_another(process: Process, kms: LyingKMS) -> None:
    one, other = (unwrap_key(process, earlier_key(process)) for _ in range(2))
    kms.set_state(State.UNREACHABLE)
    with pytest.raises(KMSUnavailable):
        confirm_key(process, one)
    kms.set_state(State.ENABLED)
    assert confirm_key(process, other) == other


@pytest.fixture
def log(caplog: Log) -> Log:
    caplog.set_level("WARNING", logger="sessions_kms")
    return caplog


# A data key that moves to another KMS key


class SwappingKMS(LyingKMS):
    """Answers a re-encryption with another data key, one of another period, or none."""

    other: bytes | None = None

    def re_encrypt(self, ciphertext: bytes, **asked: object) -> bytes:
        right = super().re_encrypt(ciphertext, **asked)  # type: ignore[arg-type]
        return right if self.other is None else self.other


@pytest.mark.parametrize("period", [PERIOD, PERIOD + 86_400, None])
def test_wrong_response_to_a_re_encryption_moves_nothing(period: int | None, log: Log) -> None:
    kms = SwappingKMS(KEY, OLD_KEY)
    old = run_sync(kms_keyring(kms, key_id=OLD_KEY).generate(PERIOD))
    keyring = kms_keyring(kms, decrypt_key_ids=(OLD_KEY,))
    kms.other = run_sync(keyring.generate(period)).encrypted if period else b"garbled"
    with pytest.raises(KMSUnavailable):
        run_sync(keyring.rewrap(old.encrypted, PERIOD))
    assert period != PERIOD or DIFFER in log.messages
    kms.other = None
    kms.lies = 1
    with pytest.raises(KMSUnavailable):
        run_sync(keyring.rewrap(old.encrypted, PERIOD))
    moved = run_sync(keyring.rewrap(old.encrypted, PERIOD))
    assert moved is not None
    assert run_sync(keyring.unwrap(moved, PERIOD)).plaintext == old.plaintext
