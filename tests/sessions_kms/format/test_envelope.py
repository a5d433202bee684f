"""Sealing and opening: both keys are needed, and the commitment names the only pair of them."""

import hmac
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import envelope
from sessions_kms.format.attributes import ITEM_MAX_BYTES, Item
from sessions_kms.format.item_types import ABOUT, session_id
from sessions_kms.format.record import SessionRecord
from tests.sessions_kms.support import reference_format as reference
from tests.sessions_kms.support.sealed import (
    CANARY,
    COOKIE,
    DATA_KEY,
    HEADER,
    NAMESPACE,
    OTHER_COOKIE,
    OTHER_DATA_KEY,
    PERIOD,
    flips_of,
    open_,
    rejection_of,
    seal,
)
from tests.support.cases import each_case
from tests.vectors import case
from tests.vectors.wrong import two_keys_one_ciphertext

# Opening what was sealed


@given(
    plaintext=st.binary(max_size=2000),
    salt=st.binary(min_size=16, max_size=16),
    iv=st.binary(min_size=12, max_size=12),
    data_key=st.binary(min_size=32, max_size=32),
    cookie=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=32, max_size=32),
    owner=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    revision=st.integers(1, 10**38 - 1),
)
def test_what_was_sealed_opens_here_and_in_the_second_implementation(
    *,
    plaintext: bytes,
    salt: bytes,
    iv: bytes,
    data_key: bytes,
    cookie: str,
    owner: str | None,
    revision: int,
) -> None:
    keys = {"data_key": data_key, "session_key": cookie}
    header = replace(HEADER, owner=owner, revision=revision, id=session_id(NAMESPACE, cookie))
    record = seal(plaintext, header, salt=salt, iv=iv, **keys)
    assert open_(SessionRecord.from_item(record.to_item()), **keys) == plaintext
    attributes = {
        name: value
        for name, value in record.to_item().items()
        if name not in {"encryptedData", "iv", "authTag", "commitment"}
    }
    assert record.to_item() == reference.seal(
        plaintext, attributes, namespace=NAMESPACE, session_key=cookie, data_key=data_key, iv=iv
    )


@each_case("size", [0, 1, 15, 16, 17, 65_536, ITEM_MAX_BYTES])
def test_plaintext_of_any_size_opens_and_is_as_long_as_its_ciphertext(size: int) -> None:
    plaintext = bytes(size)
    record = seal(plaintext)
    assert len(record.encrypted_data) == size
    assert open_(record) == plaintext


def test_what_is_sealed_is_the_header_and_the_keys_that_were_given() -> None:
    item = seal().to_item()
    assert item["encryptedKey"] == {"B": b"wrapped"}
    assert item["keyPeriod"] == {"N": str(PERIOD)}
    assert SessionRecord.from_item(item) == seal()
    assert {name: getattr(seal(), name) for name in asdict(HEADER)} == asdict(HEADER)
    assert seal(ancestors=b"12345678") == replace(seal(), ancestors=b"12345678")


def test_plaintext_is_nowhere_in_the_item() -> None:
    assert CANARY.decode() not in repr(seal().to_item())
    assert COOKIE not in repr(seal().to_item())


def test_another_salt_makes_another_key() -> None:
    records = [seal(salt=salt, iv=b"i" * 12) for salt in (b"a" * 16, b"b" * 16)]
    assert records[0].commitment != records[1].commitment
    assert records[0].encrypted_data != records[1].encrypted_data


def test_repeated_random_bytes_repeat_a_key_only_in_one_revision_and_second() -> None:
    other = "about#django#" + HEADER.id
    records = [
        seal(),
        seal(header=replace(HEADER, revision=HEADER.revision + 1)),
        seal(header=replace(HEADER, updated_at=HEADER.updated_at + 1)),
        seal(header=replace(HEADER, id=other)),
        seal(header=replace(HEADER, id=other), item_type=ABOUT),
        seal(namespace="other"),
    ]
    assert {each.salt for each in records} == {records[0].salt}
    assert len({each.commitment for each in records}) == len(records)
    assert len({each.encrypted_data for each in records}) == len(records)


def test_item_opens_as_its_own_type_only() -> None:
    assert rejection_of(lambda: open_(seal(), item_type=ABOUT)) == "commitment"
    assert rejection_of(lambda: open_(seal(item_type=ABOUT))) == "commitment"


# Two keys are needed


def test_table_and_data_key_open_nothing_without_the_cookie() -> None:
    assert rejection_of(lambda: open_(seal(), session_key=OTHER_COOKIE)) == "commitment"
    assert rejection_of(lambda: open_(seal(), session_key=seal().id)) == "commitment"
    assert rejection_of(lambda: open_(seal(), session_key="")) == "commitment"


def test_no_key_made_of_the_data_key_alone_decrypts() -> None:
    record = seal()
    associated = reference.prefix_lengths(reference.associated_fields(NAMESPACE, record.to_item()))
    info = reference.prefix_lengths(reference.info_fields(NAMESPACE, record.to_item()))
    alone, without_cookie = reference.halves(reference.hkdf(DATA_KEY, record.salt, info))
    for key in (DATA_KEY, alone, without_cookie, record.commitment):
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(record.iv, record.encrypted_data + record.auth_tag, associated)


def test_cookie_opens_nothing_without_the_data_key() -> None:
    assert rejection_of(lambda: open_(seal(), data_key=OTHER_DATA_KEY)) == "commitment"
    assert rejection_of(lambda: open_(seal(), data_key=bytes(32))) == "commitment"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_data_key_of_another_length_is_refused(length: int) -> None:
    assert rejection_of(lambda: open_(seal(), data_key=bytes(length))) == "data_key"
    with pytest.raises(InvalidRecord):
        seal(data_key=bytes(length))


def test_every_bit_of_the_data_key_counts() -> None:
    record = seal()
    reasons = {
        rejection_of(partial(open_, record, data_key=changed)) for changed in flips_of(DATA_KEY)
    }
    assert reasons == {"commitment"}


# The commitment


class _NeverDecrypts:
    def __init__(self, key: bytes) -> None:
        raise AssertionError("decryption was reached")


@dataclass
class _Hmac:
    compare_digest: Callable[[bytes, bytes], bool]


@pytest.fixture
def salamander() -> Item:
    return two_keys_one_ciphertext()


def test_salamander_opens_under_two_keys_of_gcm(salamander: Item) -> None:
    plaintexts = [
        AESGCM(reference.derive(data_key, case.SESSION_KEY, NAMESPACE, salamander)[0]).decrypt(
            salamander["iv"]["B"],
            salamander["encryptedData"]["B"] + salamander["authTag"]["B"],
            case.associated_data(salamander),
        )
        for data_key in (case.DATA_KEY, case.OTHER_DATA_KEY)
    ]
    assert plaintexts[0] != plaintexts[1]
    assert plaintexts[0].startswith(b'{"padding":"')


def test_salamander_opens_under_the_key_of_its_commitment_alone(
    salamander: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = SessionRecord.from_item(salamander)
    assert open_(record, session_key=case.SESSION_KEY, data_key=case.DATA_KEY)
    monkeypatch.setattr(envelope, "AESGCM", _NeverDecrypts)
    reason = rejection_of(
        lambda: open_(record, session_key=case.SESSION_KEY, data_key=case.OTHER_DATA_KEY)
    )
    assert reason == "commitment"


def test_commitment_is_compared_in_constant_time_before_decryption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return hmac.compare_digest(first, second)

    record = replace(seal(), commitment=bytes(32))
    monkeypatch.setattr(envelope, "AESGCM", _NeverDecrypts)
    monkeypatch.setattr(envelope, "hmac", _Hmac(compare_digest))
    assert rejection_of(lambda: open_(record)) == "commitment"
    assert [bytes(32) in pair for pair in compared] == [True]
