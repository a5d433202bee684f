"""When service ends: a refused KMS key, an unreachable KMS, an unreadable cutoff.

And what ends a session: its time, or a record that is not ours.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.format.attributes import Item
from tests.sessions_kms.support.faults import Fault, drop_connection, error
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.sessions import save_changes, save_session, stored_item
from tests.sessions_kms.support.stacks import REGION, Stack
from tests.support.local_kms import LocalKMS

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

CACHE_AGE, MAX_STALE, NOT_BEFORE_GOOD_FOR = 300, 3600, 60
DENIED = error("AccessDeniedException")
THROTTLED = error("ThrottlingException")
FAILING = error("KMSInternalException", 500)


def read_and_write(session_key: str | None, number: int) -> None:
    """Do what a request does; both must work."""
    save_changes(session_key, number=number)
    assert stored_item(session_key)["number"] == number


def assert_closed(session_key: str | None) -> None:
    """Assert that neither reading nor writing works, and that no session is taken for ended."""
    reader, writer = SessionStore(session_key), SessionStore()
    with pytest.raises(KMSUnavailable):
        reader.load()
    writer["number"] = 1
    with pytest.raises(KMSUnavailable):
        writer.save()
    assert (reader.session_key, writer.session_key) == (session_key, None)


@pytest.fixture
def operator(local_kms: LocalKMS) -> "Iterator[KMSClient]":
    """Yield the administrator of the KMS keys."""
    client = boto3.client("kms", region_name=REGION, endpoint_url=local_kms.url)
    yield client
    client.close()


def disable(client: "KMSClient", key_id: str) -> None:
    client.disable_key(KeyId=key_id)


@servers
@pytest.mark.parametrize("is_denied", [False, True])
def test_refused_kms_key_closes_at_the_cache_age_and_not_before(
    faulty: FaultyStack, operator: "KMSClient", is_denied: bool
) -> None:
    key = save_session(number=0).session_key
    faulty.kms.heal()
    if is_denied:
        for operation in ("Decrypt", "GenerateDataKey"):
            faulty.kms.on(operation, DENIED)
    else:
        disable(operator, faulty.stack.config.key_id)
        faulty.kms.heal()
    faulty.stack.clock.advance(CACHE_AGE - 0.001)
    read_and_write(key, 1)
    assert faulty.kms.operations == []
    faulty.stack.clock.advance(0.001)
    assert_closed(key)
    assert faulty.kms.operations == ["Decrypt"] * 2


@servers
def test_refusal_at_any_kms_call_drops_cached_keys(
    faulty: FaultyStack, operator: "KMSClient"
) -> None:
    faulty.stack.clock.advance(-86400)
    older = save_session(number=0).session_key
    faulty.stack.clock.advance(86400)
    key = save_session(number=0).session_key
    read_and_write(key, 1)
    disable(operator, faulty.stack.config.key_id)
    with pytest.raises(KMSUnavailable):  # Its data key is not cached any longer.
        SessionStore(older).load()
    assert_closed(key)


@servers
def test_kms_key_enabled_again_serves_after_the_back_off(
    faulty: FaultyStack, operator: "KMSClient"
) -> None:
    key = save_session(number=0).session_key
    disable(operator, faulty.stack.config.key_id)
    faulty.stack.clock.advance(CACHE_AGE)
    assert_closed(key)
    operator.enable_key(KeyId=faulty.stack.config.key_id)
    faulty.stack.clock.advance(1)
    read_and_write(key, 1)


@servers
@pytest.mark.parametrize(
    "fault", [drop_connection, THROTTLED, FAILING], ids=["dropped", "throttled", "failing"]
)
def test_kms_out_of_reach_is_survived_exactly_up_to_the_maximum_staleness(
    faulty: FaultyStack, fault: Fault
) -> None:
    key = save_session(number=0).session_key
    for operation in ("Decrypt", "GenerateDataKey"):
        faulty.kms.on(operation, fault)
    for number, age in enumerate((CACHE_AGE, MAX_STALE / 2, MAX_STALE - 0.001), 1):
        faulty.stack.clock.now = 1_800_000_000 + age
        read_and_write(key, number)
        read_and_write(save_session(number=0).session_key, number)
    faulty.stack.clock.now = 1_800_000_000 + MAX_STALE
    assert_closed(key)
    faulty.kms.heal()
    faulty.stack.clock.advance(1)
    read_and_write(key, 9)


def plant_garbage(item: Item, operator: "KMSClient") -> None:
    item["encryptedKey"] = {"B": b"garbage"}


def plant_foreign(item: Item, operator: "KMSClient") -> None:
    foreign = operator.create_key()["KeyMetadata"]["Arn"]
    made = operator.generate_data_key(KeyId=foreign, KeySpec="AES_256")
    item["encryptedKey"] = {"B": made["CiphertextBlob"]}


def plant_malformed(item: Item, operator: "KMSClient") -> None:
    item["encryptedKey"] = {"S": "text"}


@servers
@pytest.mark.parametrize(
    ("plant", "shared"), [(plant_garbage, True), (plant_foreign, False), (plant_malformed, False)]
)
def test_bad_published_data_key_stops_no_save(
    faulty: FaultyStack,
    operator: "KMSClient",
    plant: Callable[[Item, "KMSClient"], None],
    shared: bool,
) -> None:
    key = save_session(number=0).session_key
    (published,) = (item for name, item in faulty.stack.items().items() if "data-key" in name)
    plant(published, operator)
    faulty.stack.put_item(published)
    faulty.restart()
    read_and_write(key, 1)
    (record,) = faulty.stack.sessions().values()
    assert record["keyPeriod"] == published["keyPeriod"]
    current = faulty.stack.items()[published["id"]["S"]]
    assert (record["encryptedKey"] == current["encryptedKey"]) == shared


@servers
@pytest.mark.parametrize("fault", [drop_connection, DENIED], ids=["dropped", "denied"])
def test_moment_unread_for_60_seconds_is_unavailable_and_not_before(
    faulty: FaultyStack, fault: Fault
) -> None:
    key = save_session(number=0).session_key
    assert stored_item(key) == {"number": 0}
    faulty.table.on("GetItem", fault, matching=b"not-before#")
    faulty.stack.clock.advance(NOT_BEFORE_GOOD_FOR - 0.001)
    assert stored_item(key) == {"number": 0}
    faulty.stack.clock.advance(0.001)
    session = SessionStore(key)
    with pytest.raises(TableUnavailable):
        session.load()
    assert session.session_key == key


def test_expired_item_still_in_the_table_is_no_session(stack: Stack) -> None:
    session = save_session(number=0)
    (item,) = stack.sessions().values()
    stack.clock.now = int(item["ttl"]["N"]) - 0.001
    assert stored_item(session.session_key) == {"number": 0}
    stack.clock.now = int(item["ttl"]["N"])
    late = SessionStore(session.session_key)
    assert not late.exists(session.session_key or "")
    assert (late.load(), late.session_key) == ({}, None)
    assert list(stack.sessions().values()) == [item]


def alter(item: Item, **attributes: Any) -> Item:
    return {name: value for name, value in (item | attributes).items() if value is not None}


def flip(item: Item, name: str) -> Item:
    data: bytes = item[name]["B"]
    return item | {name: {"B": data[:-1] + bytes([data[-1] ^ 1])}}


BAD_RECORDS: dict[str, Callable[[Item], Item]] = {
    **{
        f"{name} missing": lambda item, name=name: alter(item, **{name: None})  # type: ignore[misc]
        for name in ("version", "encryptedData", "iv", "authTag", "salt", "ttl", "revision")
    },
    **{
        f"{name} flipped": lambda item, name=name: flip(item, name)  # type: ignore[misc]
        for name in ("encryptedData", "iv", "authTag", "encryptedKey", "salt", "commitment")
    },
    "version 2": lambda item: alter(item, version={"N": "2"}),
    "number with a sign": lambda item: alter(item, revision={"N": "+1"}),
    "number of another form": lambda item: alter(item, ttl={"N": "18e8"}),
    "binary as text": lambda item: alter(item, salt={"S": "x" * 16}),
    "iv cut": lambda item: alter(item, iv={"B": item["iv"]["B"][:-1]}),
    "owner added": lambda item: alter(item, owner={"S": "user#django#1"}),
    "ttl later": lambda item: alter(item, ttl={"N": str(int(item["ttl"]["N"]) + 1)}),
    "period of another day": lambda item: alter(item, keyPeriod={"N": "1700000000"}),
}


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_foreign_record_is_no_session_and_one_warning(
    fake: Stack, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = save_session(number=0).session_key
    ((name, item),) = fake.sessions().items()
    fake.put_item(BAD_RECORDS[what](item))
    before = fake.items()
    fake.dynamodb.calls.clear()
    session = SessionStore(key)
    assert (dict(session.items()), session.session_key) == ({}, None)
    assert set(fake.dynamodb.calls) <= {"GetItem session", "GetItem not-before"}
    assert fake.items() == before
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == (
        "django.security.SuspiciousSession",
        logging.WARNING,
    )
    assert name[:8] in caplog.text
    assert name[:9] not in caplog.text
    assert str(key) not in caplog.text
