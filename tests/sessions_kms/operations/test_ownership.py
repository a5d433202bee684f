"""The owner of a record: KMS is called once for each data key, whatever the result."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys import keyring as wrapped_keys
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable, StoreUnavailable
from sessions_kms.format.record import SessionRecord
from sessions_kms.operations.listing import Ownership
from sessions_kms.services import id_of
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import run_blocking


class FixedKeyring:
    """A keyring that counts what it is asked, and always answers the same."""

    def __init__(self, error: Exception | None) -> None:
        self.asked = 0
        self._error = error

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        self.asked += 1
        if self._error is not None:
            raise self._error
        return DataKey(period, encrypted, bytes(32), "")

    async def generate(self, period: int) -> DataKey:
        raise NotImplementedError

    async def confirmed(self, key: DataKey) -> DataKey:
        raise NotImplementedError


def anonymous(stack: Stack) -> SessionRecord:
    session = save_session(a=1)
    record = run_sync(stack.services.session_items.get(id_of(session.session_key or "")))
    assert record is not None
    return record


def ownership_check(stack: Stack, keyring: FixedKeyring) -> Callable[[SessionRecord], bool]:
    return run_blocking(Ownership(replace(stack.services, keyring=keyring)).is_ours)


@pytest.mark.parametrize(
    ("error", "ours"),
    [(None, True), (InvalidRecord("encrypted_key"), False), (IncorrectKey(), False)],
)
def test_response_is_remembered(fake: Stack, error: Exception | None, ours: bool) -> None:
    keyring = FixedKeyring(error)
    belongs = ownership_check(fake, keyring)
    assert [belongs(anonymous(fake)) for _ in range(3)] == [ours] * 3
    assert keyring.asked == 1


@pytest.mark.parametrize("error", [KMSUnavailable(), KMSUnavailable(refused_key="arn")])
def test_unknown_outcome_is_checked_again(fake: Stack, error: StoreUnavailable) -> None:
    keyring = FixedKeyring(error)
    belongs, record = ownership_check(fake, keyring), anonymous(fake)
    for _ in range(2):
        with pytest.raises(KMSUnavailable):
            belongs(record)
    assert keyring.asked == 2


def test_data_keys_remembered_are_bounded_in_number(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrapped_keys, "REMEMBERED", 2)
    keyring = FixedKeyring(None)
    belongs, record = ownership_check(fake, keyring), anonymous(fake)
    for blob in (b"1", b"2", b"3", b"3", b"2", b"1"):
        assert belongs(replace(record, encrypted_key=blob))
    assert keyring.asked == 4


def test_owner_is_known_without_kms(fake: Stack) -> None:
    keyring = FixedKeyring(KMSUnavailable())
    belongs, record = ownership_check(fake, keyring), anonymous(fake)
    assert belongs(replace(record, owner="user#django#7"))
    assert not belongs(replace(record, owner="user#django2#7"))
    assert keyring.asked == 0
