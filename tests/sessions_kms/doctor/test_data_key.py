"""The published data key of the period: each way in which it is of no use, and its remedy."""

import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from sessions_kms import services
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import Store, apply, client, new_key, troubles
from tests.sessions_kms.support.stacks import on_aws

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store


def period() -> int:
    now = int(time.time())
    return now - now % 86400


def publish(store: Store, encrypted: bytes, **changes: Any) -> None:
    item = {
        "id": {"S": f"data-key#django#{period()}"},
        "version": {"N": "1"},
        "keyPeriod": {"N": str(period())},
        "encryptedKey": {"B": encrypted},
        "createdAt": {"N": str(period())},
        "ttl": {"N": str(period() + 2 * 86400)},
    }
    client("dynamodb").put_item(TableName=store.table, Item=item | changes)


def wrap_by(key: str) -> bytes:
    context = {"purpose": "sessions_kms", "namespace": "django", "period": str(period())}
    response = client("kms").generate_data_key(
        KeyId=key, KeySpec="AES_256", EncryptionContext=context
    )
    encrypted: bytes = response["CiphertextBlob"]
    return encrypted


@servers
def test_one_of_a_key_that_is_not_configured_is_found_and_deleted_by_the_remedy(
    store: Store,
) -> None:
    publish(store, wrap_by(new_key()))
    found = checked_store.only_trouble("data key", canary=True)
    assert found.level == "warning"
    assert found.detail.endswith("wrapped by a KMS key that is not configured")
    apply(found.remedy)
    assert store.items() == []
    assert troubles(canary=True) == {}


@servers
@pytest.mark.parametrize(("days", "is_found"), [(1, False), (2, True), (31, True), (32, False)])
def test_data_keys_that_somebody_prepared_are_found(
    store: Store, days: int, is_found: bool
) -> None:
    ahead = period() + days * 86400
    named = {"id": {"S": f"data-key#django#{ahead}"}, "keyPeriod": {"N": str(ahead)}}
    publish(store, b"prepared", **named)
    found = troubles()
    assert list(found) == (["data keys ahead"] if is_found else [])
    if is_found:
        assert found["data keys ahead"].level == "failing"


@servers
def test_one_of_the_previous_key_is_to_be_rewrapped(store: Store) -> None:
    previous = new_key()
    publish(store, wrap_by(previous))
    store.configure(DECRYPT_KEY_IDS=[previous])
    found = checked_store.only_trouble("data key", canary=True)
    assert found.level == "warning"
    assert found.detail == f"wrapped by the previous key {previous}"
    assert "`manage.py rewrap_sessions`" in found.remedy
    call_command("rewrap_sessions", "--no-input", "--no-wait", stdout=StringIO())
    services.reset()
    assert troubles(canary=True) == {}


@servers
def test_one_of_a_previous_key_that_is_refused_is_found(store: Store) -> None:
    previous = new_key()
    publish(store, wrap_by(previous))
    store.configure(DECRYPT_KEY_IDS=[previous])
    client("kms").disable_key(KeyId=previous.rpartition("/")[2])
    found = troubles(canary=True)
    assert list(found) == ["previous kms keys", "data key"]
    assert found["data key"].detail.endswith(f"wrapped by {previous}, which KMS refuses to use")
    apply(found["data key"].remedy)
    assert list(troubles(canary=True)) == ["previous kms keys"]


@on_aws
@pytest.mark.parametrize("encrypted", [b"damaged", b""], ids=["altered", "malformed"])
def test_damaged_one_is_found_by_a_look_and_deleted_by_the_remedy(
    store: Store, encrypted: bytes
) -> None:
    publish(store, encrypted or b"x" * 7000)
    found = checked_store.only_trouble("data key")
    assert "damaged" in found.detail
    apply(found.remedy)
    assert troubles() == {}


@on_aws
def test_one_not_published_yet_is_no_fault(store: Store) -> None:
    assert troubles() == {}
    assert store.items() == []


@servers
def test_strict_mode_publishes_none_and_has_no_fault(store: Store) -> None:
    store.configure(DATA_KEY_PERIOD=0)
    _, report = checked_store.check()
    assert report["kms_calls"] > 1  # one a write
    assert store.items() == []
    services.reset()
    assert troubles(canary=True) == {}
