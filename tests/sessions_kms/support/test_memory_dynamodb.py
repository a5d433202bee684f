"""DynamoDB in memory answers as moto does, to every condition that the engine states."""

from collections.abc import Callable
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import as_binary, as_number
from sessions_kms.format.record import SessionRecord
from sessions_kms.operations import provisioning
from sessions_kms.operations.purging import created_until, sealed_in
from sessions_kms.storage.published_keys import PublishedKey
from sessions_kms.storage.queries import Page, Queries
from sessions_kms.storage.writes import Condition, ended_until, equal
from sessions_kms.testing.expressions import updated
from tests.sessions_kms.support.memory_dynamodb import MemoryDynamoDB
from tests.sessions_kms.support.stacks import Items

NOW = 1_800_000_000
TABLE = "sessions"
OWNER = "user#django#7"


class Stored(NamedTuple):
    """A state of the record, as a write may find it."""

    revision: int
    salt: bytes
    ttl: int


STATES = {
    "absent": None,
    "as loaded": Stored(1, b"s" * 16, NOW + 10),
    "other revision": Stored(2, b"s" * 16, NOW + 10),
    "other salt": Stored(1, b"t" * 16, NOW + 10),
    "ends now": Stored(1, b"s" * 16, NOW),
    "ended": Stored(1, b"s" * 16, NOW - 1),
}
ANEW = {"encryptedKey": as_binary(b"other"), "createdAt": as_number(NOW)}
MARK = {"id": {"S": "moved#a"}}
EXPECTED = Stored(1, b"s" * 16, 0)
WRITES: dict[str, Callable[[Items], object]] = {
    "create": lambda items: run_sync(items.sessions.create(record("a", b"n" * 16), now=NOW)),
    "create again": lambda items: run_sync(items.sessions.create(record("a", b"s" * 16), now=NOW)),
    "replace": lambda items: run_sync(
        items.sessions.replace(record("a", b"n" * 16), expected=EXPECTED, now=NOW)
    ),
    "move": lambda items: run_sync(
        items.sessions.move(record("b", b"n" * 16), old_id="a", expected=EXPECTED, now=NOW)
    ),
    "move to one that is there": lambda items: run_sync(
        items.sessions.move(record("c", b"n" * 16), old_id="a", expected=EXPECTED, now=NOW)
    ),
    "delete": lambda items: run_sync(items.table.delete("a")),
    "end": lambda items: run_sync(items.sessions.end("a")),
    "raise": lambda items: run_sync(items.moments.raise_to(NOW, latest=NOW + 300)),
    "rewrap": lambda items: run_sync(
        items.table.update("a", ANEW, when=equal("encryptedKey", as_binary(b"wrapped")))
    ),
    "rewrap another": lambda items: run_sync(
        items.table.update("a", ANEW, when=equal("encryptedKey", as_binary(b"x")))
    ),
    "owned": lambda items: sorted(run_sync(Queries(items.table).owned_ids(OWNER))),
    "get": lambda items: run_sync(items.sessions.get("a")),
    "head": lambda items: run_sync(items.sessions.head("a")),
    "owned page": lambda items: ids_of(run_sync(Queries(items.table).owned(OWNER))),
    "owned, page by page": lambda items: read_pages(
        lambda start: run_sync(Queries(items.table).owned(OWNER, start, limit=1))
    ),
    "scan": lambda items: ids_of(run_sync(Queries(items.table).scan())),
    "scan, whole and consistent": lambda items: ids_of(
        run_sync(Queries(items.table).scan(whole=True, consistent=True))
    ),
    "scan, page by page": lambda items: read_pages(
        lambda start: run_sync(Queries(items.table).scan(start, limit=2))
    ),
    "delete created": lambda items: run_sync(items.table.delete("a", when=created_until(NOW - 5))),
    "delete created earlier": lambda items: run_sync(
        items.table.delete("a", when=created_until(NOW - 6))
    ),
    "delete ended": lambda items: run_sync(items.table.delete("a", when=ended_until(NOW))),
    "delete sealed": lambda items: run_sync(items.table.delete("a", when=sealed_in(0, but=None))),
    "delete sealed but": lambda items: run_sync(
        items.table.delete("a", when=sealed_in(0, but=b"wrapped"))
    ),
    "delete sealed of another": lambda items: run_sync(
        items.table.delete("a", when=sealed_in(0, but=b"x"))
    ),
    "delete what lacks what is compared": lambda items: run_sync(
        items.table.delete(
            "lease#a", when=Condition("#encryptedKey <> :but", {":but": as_binary(b"x")})
        )
    ),
    "take over": lambda items: run_sync(
        items.sessions.take_over(record("a", b"n" * 16), mark=MARK, now=NOW)
    ),
    "take over what was": lambda items: run_sync(
        items.sessions.take_over(record("a", b"n" * 16), mark=stamped_item(b"2"), now=NOW)
    ),
    "mark": lambda items: run_sync(items.sessions.mark("a", expected=EXPECTED, mark=MARK, now=NOW)),
    "give back": lambda items: run_sync(
        items.sessions.give_back("a", expected=EXPECTED, mark_id="lease#a", now=NOW)
    ),
    "publish": lambda items: run_sync(items.data_keys.publish(PublishedKey(1, b"new", NOW, NOW))),
    "publish again": lambda items: run_sync(
        items.data_keys.publish(PublishedKey(2, b"new", NOW, NOW))
    ),
    "replace key": lambda items: run_sync(
        items.data_keys.replace(PublishedKey(2, b"new", NOW, NOW), old=b"key")
    ),
    "replace other key": lambda items: run_sync(
        items.data_keys.replace(PublishedKey(2, b"new", NOW, NOW), old=b"other")
    ),
    "stamp": lambda items: run_sync(items.table.put_stamped(stamped_item(b"2"), expected=b"1")),
    "stamp of another": lambda items: run_sync(
        items.table.put_stamped(stamped_item(b"2"), expected=b"3")
    ),
    "stamp of none": lambda items: run_sync(
        items.table.put_stamped(stamped_item(b"2"), expected=None)
    ),
}


def ids_of(page: Page) -> list[str]:
    return sorted(str(sorted(item.items())) for item in page.items)


def read_pages(read: Callable[[Any], Page]) -> list[str]:
    """Return what all pages have; the order of a scan is DynamoDB's own."""
    page = read(None)
    found = ids_of(page)
    while page.next is not None:
        page = read(page.next)
        assert len(page.items) <= 2
        found += ids_of(page)
    return sorted(found)


def record(name: str, salt: bytes, *, revision: int = 1, ttl: int = NOW + 10) -> SessionRecord:
    return SessionRecord(
        id=name,
        created_at=NOW - 5,
        updated_at=NOW,
        ttl=ttl,
        revision=revision,
        owner=OWNER,
        key_period=NOW,
        encrypted_key=b"wrapped",
        salt=salt,
        commitment=bytes(32),
        iv=bytes(12),
        encrypted_data=b"sealed",
        auth_tag=bytes(16),
    )


def stamped_item(stamp: bytes) -> dict[str, dict[str, Any]]:
    return {"id": {"S": "lease#a"}, "stamp": {"B": stamp}}


def outcome(items: Items, name: str, state: Stored | None) -> tuple[str, list[str]]:
    """Set up a table and write; return the result and what is stored."""
    table = items.table
    for item_id in ("a", "b", "c", "data-key#django#1", "lease#a", "moved#a"):
        run_sync(table.delete(item_id))
    if state:
        run_sync(
            table.put(record("a", state.salt, revision=state.revision, ttl=state.ttl).to_item())
        )
    run_sync(table.put(record("c", b"c" * 16).to_item()))
    run_sync(table.put(PublishedKey(2, b"key", NOW, NOW).to_item("data-key#django#2")))
    run_sync(table.put(stamped_item(b"1")))
    try:
        told = WRITES[name](items)
    except Exception as exc:  # noqa: BLE001 - its type is what is compared
        told = type(exc)
    ids = ("a", "b", "c", "lease#a", "moved#a")
    found: list[dict[str, Any] | None] = [run_sync(table.get(item_id)) for item_id in ids]
    key = (run_sync(table.get("data-key#django#2")) or {}).get("encryptedKey")
    salts = [str(item and (item.get("salt") or item.get("stamp"))) for item in found]
    return repr(told), [*salts, str(key)]


@pytest.fixture
def moto_items(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-west-1")
        list(provisioning.create_table(client, TABLE))
        yield Items(client)


@pytest.mark.long
def test_every_write_on_every_state_ends_as_with_moto(moto_items: Items) -> None:
    tables = [Items(MemoryDynamoDB()), Items(MemoryDynamoDB(returns_old=False))]
    for name in WRITES:
        for state in STATES.values():
            expected = outcome(moto_items, name, state)
            assert [outcome(table, name, state) for table in tables] == [expected] * 2, name


def test_failed_condition_returns_the_item_only_if_requested() -> None:
    memory = MemoryDynamoDB()
    memory.put_item(Item={"id": {"S": "a"}})
    condition = {"ConditionExpression": "attribute_not_exists(id)"}
    with pytest.raises(ClientError) as caught:
        memory.put_item(Item={"id": {"S": "a"}}, **condition)
    assert "Item" not in caught.value.response


def test_update_that_is_no_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="Only SET is known: REMOVE a"):
        updated({"a": {"S": "b"}}, {"UpdateExpression": "REMOVE a"})
