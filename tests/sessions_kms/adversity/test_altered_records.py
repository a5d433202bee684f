"""A record altered in any way is refused, in one way: read as a program does, KMS included."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import KMSKeyring
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import envelope
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import session_id
from sessions_kms.format.record import Header, SessionRecord
from tests.sessions_kms.support.fakes import FakeKMS
from tests.sessions_kms.support.sealed import (
    BINARIES,
    COOKIE,
    HEADER,
    NAMESPACE,
    NOW,
    OTHER_COOKIE,
    PERIOD,
    PLAINTEXT,
    flips_of,
    open_,
    rejection_of,
    seal,
)
from tests.sessions_kms.support.stacks import FAKE_KEY


@dataclass
class Reader:
    """All that a program does with an item, as docs/format.md orders it, and a KMS that wraps."""

    keyring: KMSKeyring
    item: Item

    def read(self, item: Item, *, namespace: str = NAMESPACE, session_key: str = COOKIE) -> bytes:
        record = SessionRecord.from_item(item)
        if record.id != session_id(namespace, session_key):
            raise InvalidRecord("id")
        if record.is_ahead(NOW):
            raise InvalidRecord("updated_in_future")
        record.check_times()
        data_key = run_sync(self.keyring.unwrap(record.encrypted_key, record.key_period)).plaintext
        return envelope.open_(
            record, namespace=namespace, session_key=session_key, data_key=data_key
        )

    def reason(self, item: Item, **reader: str) -> str:
        return rejection_of(lambda: self.read(item, **reader))

    def seal(self, header: Header = HEADER, **changes: Any) -> Item:
        key = run_sync(self.keyring.generate(PERIOD))
        return seal(
            header=header, data_key=key.plaintext, encrypted_key=key.encrypted, **changes
        ).to_item()


def keyring_of(kms: FakeKMS, namespace: str = NAMESPACE, **context: str) -> KMSKeyring:
    return KMSKeyring(
        kms,
        key_id=FAKE_KEY,
        decrypt_key_ids=(),
        namespace=namespace,
        encryption_context=context,
    )


@pytest.fixture
def kms() -> FakeKMS:
    return FakeKMS(FAKE_KEY)


@pytest.fixture
def reader(kms: FakeKMS) -> Reader:
    made = Reader(keyring_of(kms), {})
    made.item = made.seal()
    return made


def test_unaltered_record_is_read(reader: Reader) -> None:
    assert reader.read(reader.item) == PLAINTEXT


@pytest.mark.parametrize("name", BINARIES)
def test_every_flipped_bit_is_refused(reader: Reader, name: str) -> None:
    reasons = {
        reader.reason(reader.item | {name: {"B": changed}})
        for changed in flips_of(reader.item[name]["B"])
    }
    assert reasons == {
        {
            "encryptedKey": "encrypted_key",
            "salt": "commitment",
            "commitment": "commitment",
        }.get(name, "authentication")
    }


@pytest.mark.parametrize("name", BINARIES)
def test_every_truncation_is_refused(reader: Reader, name: str) -> None:
    whole = reader.item[name]["B"]
    for length in range(len(whole)):
        reader.reason(reader.item | {name: {"B": whole[:length]}})
        reader.reason(reader.item | {name: {"B": whole[length + 1 :]}})


@pytest.mark.parametrize("name", BINARIES)
def test_every_extension_is_refused(reader: Reader, name: str) -> None:
    whole = reader.item[name]["B"]
    for more in (b"\0", b"\xff", whole):
        reader.reason(reader.item | {name: {"B": whole + more}})
        reader.reason(reader.item | {name: {"B": more + whole}})


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("version", {"version"}),
        ("createdAt", {"authentication", "created_after_updated"}),
        ("updatedAt", {"commitment", "updated_in_future", "key_period"}),
        ("ttl", {"authentication"}),
        ("revision", {"commitment"}),
        ("keyPeriod", {"encrypted_key", "key_period"}),
    ],
)
def test_every_other_number_is_refused(reader: Reader, name: str, reasons: set[str]) -> None:
    number = int(reader.item[name]["N"])
    numbers = {0, number - 1, number + 1, number + 86_400, 10 * number, 10**37} - {number}
    found = {reader.reason(reader.item | {name: {"N": str(other)}}) for other in numbers}
    assert found == reasons


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_every_other_owner_is_refused(owner: str) -> None:
    if owner != HEADER.owner:
        altered = SessionRecord.from_item(seal().to_item() | {"owner": {"S": owner or "x"}})
        assert rejection_of(lambda: open_(altered)) == "authentication"


def test_owner_added_or_removed_is_refused(reader: Reader) -> None:
    anonymous = reader.seal(replace(HEADER, owner=None))
    assert reader.reason(anonymous | {"owner": {"S": "user#django#42"}}) == "authentication"
    del reader.item["owner"]
    assert reader.reason(reader.item) == "authentication"


def test_every_attribute_of_another_session_is_refused(reader: Reader) -> None:
    """The other session is one of the same person, in the same second, of the same length."""
    other = reader.seal(
        replace(HEADER, id=session_id(NAMESPACE, OTHER_COOKIE), revision=4, ttl=NOW + 3601),
        session_key=OTHER_COOKIE,
        salt=b"t" * 16,
        iv=b"j" * 12,
    )
    swapped = [name for name in other if other[name] != reader.item[name]]
    assert {"id", "ttl", "revision", *BINARIES} == set(swapped)
    for name in swapped:
        reader.reason(reader.item | {name: other[name]})


def test_record_moved_to_another_session_is_refused(reader: Reader) -> None:
    assert reader.reason(reader.item, session_key=OTHER_COOKIE) == "id"
    moved = reader.item | {"id": {"S": session_id(NAMESPACE, OTHER_COOKIE)}}
    assert reader.reason(moved, session_key=OTHER_COOKIE) == "commitment"


def test_record_moved_to_another_namespace_is_refused(kms: FakeKMS, reader: Reader) -> None:
    moved = reader.item | {"id": {"S": session_id("other", COOKIE)}}
    assert reader.reason(moved, namespace="other") == "commitment"
    reader.keyring = keyring_of(kms, "other")
    assert reader.reason(moved, namespace="other") == "encrypted_key"


def test_record_read_under_another_encryption_context_is_refused(
    kms: FakeKMS, reader: Reader
) -> None:
    reader.keyring = keyring_of(kms, environment="production")
    assert reader.reason(reader.item) == "encrypted_key"


def test_record_sealed_as_another_version_is_refused(reader: Reader) -> None:
    sealed = reader.seal(replace(HEADER, version=2))
    assert reader.reason(sealed) == "version"
    assert reader.reason(sealed | {"version": {"N": "1"}}) == "commitment"
