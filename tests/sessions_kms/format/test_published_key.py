"""The item of a published data key, attribute by attribute."""

from typing import Any

import pytest

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import ENCRYPTED_KEY_MAX_BYTES, Item, item_size
from sessions_kms.storage.published_keys import PublishedKey

KEY = PublishedKey(86_400, b"wrapped", 86_401, 200_000, replaced_at=90_000)
ITEM: Item = {
    "id": {"S": "data-key#django#86400"},
    "version": {"N": "1"},
    "keyPeriod": {"N": "86400"},
    "encryptedKey": {"B": b"wrapped"},
    "createdAt": {"N": "86401"},
    "ttl": {"N": "200000"},
    "replacedAt": {"N": "90000"},
}


def rejection_of(**changes: dict[str, Any]) -> str:
    with pytest.raises(InvalidRecord) as caught:
        PublishedKey.from_item(ITEM | changes)
    return caught.value.reason


def test_key_that_was_replaced_is_written_and_read_with_its_moment() -> None:
    assert KEY.to_item("data-key#django#86400") == ITEM
    assert PublishedKey.from_item(ITEM) == KEY


def test_refusal_names_the_attribute() -> None:
    assert rejection_of(version={"N": "2"}) == "version"
    assert rejection_of(replacedAt={"N": "-1"}) == "replacedAt"
    assert rejection_of(keyPeriod={"S": "86400"}) == "keyPeriod"


def test_blob_has_between_1_and_6144_bytes() -> None:
    for blob in (b"k", b"k" * ENCRYPTED_KEY_MAX_BYTES):
        assert PublishedKey.from_item(ITEM | {"encryptedKey": {"B": blob}}).encrypted == blob
    for blob in (b"", b"k" * (ENCRYPTED_KEY_MAX_BYTES + 1)):
        assert rejection_of(encryptedKey={"B": blob}) == "encryptedKey"


def test_size_is_a_whole_number_of_bytes() -> None:
    assert isinstance(item_size(ITEM | {"odd": {"N": "123"}}), int)
