"""The published data keys of the fleet, on each stand-in of DynamoDB."""

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import Item
from sessions_kms.storage.published_keys import DataKeyItems, PublishedKey
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.memory_dynamodb import after
from tests.sessions_kms.support.stacks import Stack

NOW = 1_800_000_000
PERIOD = 1_799_971_200


@pytest.fixture
def keys(stack: Stack) -> DataKeyItems:
    return stack.services.data_key_items


def published_key(encrypted: bytes = b"wrapped", period: int = PERIOD) -> PublishedKey:
    return PublishedKey(period, encrypted, NOW, NOW + 86400)


def test_data_key_is_published_once(keys: DataKeyItems) -> None:
    assert run_sync(keys.get(PERIOD)) is None
    assert run_sync(keys.publish(published_key(b"first")))
    assert not run_sync(keys.publish(published_key(b"second")))
    assert run_sync(keys.get(PERIOD)) == published_key(b"first")
    assert run_sync(keys.get(PERIOD + 86400)) is None


def test_data_key_is_replaced_only_if_the_blob_matches(keys: DataKeyItems) -> None:
    assert not run_sync(keys.replace(published_key(b"new"), old=b"old"))
    assert run_sync(keys.get(PERIOD)) is None
    run_sync(keys.publish(published_key(b"old")))
    assert not run_sync(keys.replace(published_key(b"new"), old=b"other"))
    assert run_sync(keys.replace(published_key(b"new"), old=b"old"))
    assert run_sync(keys.get(PERIOD)) == published_key(b"new")


def test_racing_publications_have_one_winner(keys: DataKeyItems) -> None:
    results = together(6, lambda i: run_sync(keys.publish(published_key(b"%d" % i))))
    assert sorted(map(str, results)) == ["False"] * 5 + ["True"]
    assert run_sync(keys.get(PERIOD)) == published_key(b"%d" % results.index(True))


def test_data_key_item_of_another_period_is_invalid(stack: Stack, keys: DataKeyItems) -> None:
    stack.put_item(published_key(period=PERIOD + 1).to_item(f"data-key#django#{PERIOD}"))
    with pytest.raises(InvalidRecord) as caught:
        run_sync(keys.get(PERIOD))
    assert caught.value.reason == "keyPeriod"


@pytest.mark.parametrize("blob", [None, b""])
def test_unreadable_data_key_that_another_process_has_replaced_stays(
    fake: Stack, blob: bytes | None
) -> None:
    item_id = f"data-key#django#{PERIOD}"
    unreadable: Item = {"id": {"S": item_id}, "version": {"N": "1"}}
    fake.put_item(unreadable | ({} if blob is None else {"encryptedKey": {"B": blob}}))
    theirs = published_key(b"theirs")
    fake.dynamodb.on("PutItem data-key", after(lambda: fake.put_item(theirs.to_item(item_id))))
    assert not run_sync(fake.services.data_key_items.replace_unreadable(published_key(b"ours")))
    assert run_sync(fake.services.data_key_items.get(PERIOD)) == theirs
