"""The table's calls to DynamoDB: consistent reads, one call per write, complete responses."""

from typing import Any

import pytest

from sessions_kms.aws.table_client import CONNECTION
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, SessionTooLarge, TableUnavailable
from sessions_kms.format.attributes import ITEM_MAX_BYTES, Item, item_size
from sessions_kms.format.record import HEAD_ATTRIBUTES, Tombstone
from sessions_kms.storage.not_before import NotBeforeItems
from sessions_kms.storage.published_keys import DataKeyItems
from sessions_kms.storage.queries import Queries
from sessions_kms.storage.session_items import Conflict, RecordExists
from sessions_kms.storage.suspect_responses import Confirm
from sessions_kms.storage.writes import REPEATS_MAX, Condition, equal
from tests.sessions_kms.support.recording import (
    NOW,
    TABLE,
    Recording,
    Suspect,
    nothing_done,
    record,
)
from tests.sessions_kms.support.stepping import run_blocking
from tests.sessions_kms.support.wire import truncate_response, twice


def test_every_read_is_consistent(client: Recording) -> None:
    run_sync(client.records.find("a"))
    run_sync(DataKeyItems(client.table, "django").get(NOW))
    run_sync(NotBeforeItems(client.table, "django").get())
    run_sync(NotBeforeItems(client.table, "django").get("google"))
    assert [asked["ConsistentRead"] for _, asked in client.calls] == [True] * 4


def test_every_write_is_one_call(client: Recording) -> None:
    first, second, moved = record("a"), record("a", revision=2), record("b")
    run_sync(client.records.create(first, now=NOW))
    run_sync(client.records.replace(second, expected=first, now=NOW))
    run_sync(client.records.move(moved, old_id="a", expected=second, now=NOW))
    run_sync(client.table.delete("b"))
    writes = ["put_item", "put_item", "transact_write_items", "delete_item"]
    assert client.operations() == writes
    assert list(client.memory.items) == ["a"]
    assert client.memory.items["a"] == Tombstone("a", NOW).to_item()


def test_item_is_put_whatever_is_stored_under_its_id(client: Recording) -> None:
    for note in ("first", "second"):
        item: Item = {"id": {"S": "a"}, "note": {"S": note}}
        run_sync(client.table.put(item))
        assert client.memory.items == {"a": item}


def test_refused_write_returns_the_stored_item_without_a_read(client: Recording) -> None:
    stands = record("a")
    client.memory.put_item(Item=stands.to_item())
    with pytest.raises(RecordExists):
        run_sync(client.records.create(record("a"), now=NOW))
    with pytest.raises(Conflict) as caught:
        run_sync(client.records.replace(record("a", revision=3), expected=record("a"), now=NOW))
    assert caught.value.current == stands
    assert client.operations() == ["put_item"] * 2


def test_write_refused_by_an_invalid_item_reads_it_again(client: Recording) -> None:
    client.memory.items["a"] = record("a", revision=2).to_item() | {"salt": {"B": b"short"}}
    with pytest.raises(InvalidRecord):
        run_sync(client.records.replace(record("a", revision=3), expected=record("a"), now=NOW))
    assert client.operations() == ["put_item", "get_item"]


def test_head_is_read_without_ciphertext(client: Recording) -> None:
    client.memory.items["a"] = record("a").to_item()
    found = run_sync(client.records.head("a"))
    assert found is not None
    assert found.revision == 1
    ((_, asked),) = client.calls
    assert set(asked["ExpressionAttributeNames"].values()) == set(HEAD_ATTRIBUTES)


def test_write_whose_response_was_lost_is_looked_for(client: Recording) -> None:
    made = record("a")
    client.memory.wire.strike(0, truncate_response)
    run_sync(client.records.create(made, now=NOW))
    assert client.operations() == ["put_item", "get_item"]
    assert run_sync(client.table.get("a")) == made.to_item()


def test_delete_whose_response_was_lost_is_made_again(client: Recording) -> None:
    for fault in (truncate_response, nothing_done):
        for delete in (run_blocking(client.table.delete), run_blocking(client.records.end)):
            run_sync(client.records.create(record("a"), now=NOW))
            client.calls.clear()
            client.memory.wire.strike(0, fault)
            delete("a")
            assert client.operations() == ["delete_item"] * 2
            assert client.memory.items == {}


def acknowledge(on: Suspect, old: Item | None) -> dict[str, Any]:
    """Return the response to a write, which came on a connection."""
    there = {} if old is None else {"Attributes": old}
    return {"ConsumedCapacity": {}, "ResponseMetadata": {CONNECTION: on}, **there}


HELD: Item = {"id": {"S": "a"}, "key": {"B": b"1"}, "note": {"S": "n"}}
CHANGES: Item = {"key": {"B": b"2"}}
EXISTS = Condition("attribute_exists(#id)")


def test_update_counts_by_the_old_item_in_its_response(client: Recording) -> None:
    client.told["update_item"] = [acknowledge(connection := Suspect(), HELD)]
    assert run_sync(client.table.update("a", CHANGES, when=equal("key", {"B": b"1"})))
    assert client.operations() == ["update_item"]
    assert not connection.is_distrusted


def test_update_is_sent_again_after_the_response_of_another(client: Recording) -> None:
    client.memory.items["a"] = HELD
    suspects = [Suspect() for _ in range(REPEATS_MAX - 1)]
    others: list[Item | None] = [None, HELD | {"key": {"B": b"3"}}]
    client.told["update_item"] = list(map(acknowledge, suspects, others))
    assert run_sync(client.table.update("a", CHANGES, when=equal("key", {"B": b"1"})))
    assert client.operations() == ["update_item"] * REPEATS_MAX
    assert [each.is_distrusted for each in suspects] == [True, True]
    assert client.memory.items["a"] == HELD | CHANGES


@pytest.mark.parametrize("old", [None, HELD])
def test_update_whose_response_is_no_evidence_is_looked_for(
    client: Recording, old: Item | None
) -> None:
    client.memory.items["a"] = HELD | CHANGES
    client.told["update_item"] = [acknowledge(connection := Suspect(), old)]
    assert run_sync(client.table.update("a", CHANGES, when=EXISTS))
    assert client.operations() == ["update_item", "get_item"]
    assert not connection.is_distrusted
    client.memory.items["a"] = HELD
    client.told["update_item"] = [acknowledge(connection, old)]
    assert run_sync(client.table.update("a", CHANGES, when=EXISTS))
    assert client.operations()[2:] == ["update_item", "get_item", "update_item"]
    assert connection.is_distrusted


STAMPED: Item = {"id": {"S": "a"}, "stamp": {"B": b"2"}}


def test_first_stamp_is_looked_for_where_its_response_is_no_evidence(client: Recording) -> None:
    client.memory.items["a"] = STAMPED
    client.told["put_item"] = [acknowledge(connection := Suspect(), None)]
    assert run_sync(client.table.put_stamped(STAMPED, expected=None))
    assert client.operations() == ["put_item", "get_item"]
    assert not connection.is_distrusted
    del client.memory.items["a"]
    client.told["put_item"] = [acknowledge(other := Suspect(), None)]
    assert run_sync(client.table.put_stamped(STAMPED, expected=None))
    assert client.operations()[2:] == ["put_item", "get_item", "put_item"]
    assert other.is_distrusted


def test_stamp_over_a_known_one_is_sent_again_after_the_response_of_another(
    client: Recording,
) -> None:
    client.memory.items["a"] = STAMPED | {"stamp": {"B": b"1"}}
    client.told["put_item"] = [acknowledge(connection := Suspect(), None)]
    assert run_sync(client.table.put_stamped(STAMPED, expected=b"1"))
    assert client.operations() == ["put_item"] * 2
    assert connection.is_distrusted
    assert client.memory.items["a"] == STAMPED


def missing(on: Suspect) -> dict[str, Any]:
    return {"ConsumedCapacity": {}, "ResponseMetadata": {CONNECTION: on}}


def test_missing_item_is_read_once_more_on_another_connection(client: Recording) -> None:
    client.told["get_item"] = [missing(connection := Suspect())]
    assert run_sync(client.table.get("a")) is None
    assert client.operations() == ["get_item"] * 2
    assert not connection.is_distrusted
    client.memory.items["a"] = HELD
    client.told["get_item"] = [missing(other := Suspect())]
    assert run_sync(client.table.get("a")) == HELD
    assert other.is_distrusted
    client.told["get_item"] = [missing(Suspect())]
    assert run_sync(client.table.get("a", confirm=Confirm.NEVER)) is None
    assert client.operations() == ["get_item"] * 5


@pytest.mark.parametrize("expected", [None, b"1"])
def test_own_stamp_is_recognised_when_the_sdk_puts_it_twice(
    client: Recording, expected: bytes | None
) -> None:
    if expected:
        client.memory.items["a"] = {"id": {"S": "a"}, "stamp": {"B": expected}}
    client.memory.wire.strike(0, twice)
    assert run_sync(
        client.table.put_stamped({"id": {"S": "a"}, "stamp": {"B": b"2"}}, expected=expected)
    )


def test_stamp_over_a_possibly_applied_one_has_an_unknown_outcome(client: Recording) -> None:
    client.memory.items["a"] = {"id": {"S": "a"}, "stamp": {"B": b"3"}}
    ours: Item = {"id": {"S": "a"}, "stamp": {"B": b"2"}}
    assert not run_sync(client.table.put_stamped(ours, expected=b"1"))
    client.memory.wire.strike(0, nothing_done)
    with pytest.raises(TableUnavailable):
        run_sync(client.table.put_stamped(ours, expected=b"1"))


def test_item_with_another_id_is_rejected(client: Recording) -> None:
    client.memory.items["a"] = record("b").to_item()
    with pytest.raises(TableUnavailable, match=r"^The table answered with another item than was"):
        run_sync(client.table.get("a"))


def test_item_may_be_read_in_part(client: Recording) -> None:
    client.memory.items["a"] = record("a").to_item()
    assert run_sync(client.table.get("a", only=("id", "ttl"))) == {
        "id": {"S": "a"},
        "ttl": {"N": str(NOW + 1000)},
    }


def test_truncated_read_is_no_miss(client: Recording) -> None:
    client.told["get_item"] = [{}]
    with pytest.raises(TableUnavailable):
        run_sync(client.table.get("a"))
    assert run_sync(client.table.get("a")) is None


def test_item_of_exactly_the_limit_is_taken(client: Recording) -> None:
    room = ITEM_MAX_BYTES - item_size(record("a", encrypted_data=b"").to_item())
    run_sync(client.records.create(record("a", encrypted_data=bytes(room)), now=NOW))
    with pytest.raises(SessionTooLarge):
        run_sync(client.records.create(record("b", encrypted_data=bytes(room + 1)), now=NOW))


# Pages, and what AWS tells of a table


def test_pages_use_the_given_start_and_consistency(client: Recording) -> None:
    client.told["scan"] = [{"Items": []}, {"Items": []}]
    run_sync(Queries(client.table).scan())
    run_sync(Queries(client.table).scan({"id": {"S": "a"}}, consistent=True))
    assert [asked["ConsistentRead"] for _, asked in client.calls] == [False, True]
    starts = [asked.get("ExclusiveStartKey") for _, asked in client.calls]
    assert starts == [None, {"id": {"S": "a"}}]


def test_pages_are_without_ciphertext_unless_requested(client: Recording) -> None:
    item = record("a").to_item()
    client.memory.items["a"] = item
    assert run_sync(Queries(client.table).scan()).items == [
        {name: item[name] for name in HEAD_ATTRIBUTES if name in item}
    ]
    assert run_sync(Queries(client.table).scan(whole=True)).items == [item]


@pytest.mark.parametrize(
    "response",
    [{}, {"Items": ["text"]}, {"Items": [{}]}, {"Items": [{"id": {"N": "1"}}]}],
    ids=["without items", "of text", "without an id", "with a number for an id"],
)
def test_invalid_page_is_rejected(client: Recording, response: dict[str, Any]) -> None:
    client.told["scan"] = [response]
    with pytest.raises(TableUnavailable):
        run_sync(Queries(client.table).scan())


def test_page_of_another_owner_is_rejected(client: Recording) -> None:
    client.told["query"] = [{"Items": [{"id": {"S": "a"}, "owner": {"S": "user#django#8"}}]}]
    with pytest.raises(TableUnavailable, match=r"^The index answered with another owner than was"):
        run_sync(Queries(client.table).owned("user#django#7"))


def test_all_pages_of_an_owner_are_followed(client: Recording) -> None:
    ids = [{"id": {"S": name}, "owner": {"S": "user#django#7"}} for name in "abc"]
    client.told["query"] = [
        {"Items": ids[:1], "LastEvaluatedKey": ids[0]},
        {"Items": ids[1:2], "LastEvaluatedKey": ids[1]},
        {"Items": ids[2:]},
    ]
    assert run_sync(Queries(client.table).owned_ids("user#django#7")) == ["a", "b", "c"]
    asked = [each for _, each in client.calls]
    assert [each.get("ExclusiveStartKey") for each in asked] == [None, *ids[:2]]
    assert {each["ExpressionAttributeValues"][":owner"]["S"] for each in asked} == {"user#django#7"}
    assert {each["Limit"] for each in asked} == {1000}


@pytest.mark.parametrize(
    ("status", "attribute"),
    [("ENABLED", "ttl"), ("ENABLING", "ttl"), ("DISABLED", None), ("DISABLING", None)],
)
def test_expired_items_are_deleted_if_ttl_is_enabled_or_enabling(
    client: Recording, status: str, attribute: str | None
) -> None:
    told = {"TimeToLiveStatus": status, "AttributeName": "ttl"}
    client.told["describe_time_to_live"] = [{"TimeToLiveDescription": told}]
    assert run_sync(Queries(client.table).ttl_attribute()) == attribute


def test_time_at_aws_is_the_date_of_a_response(client: Recording) -> None:
    headers = {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    odd = {"date": "yesterday"}
    responses = [{"ResponseMetadata": {"HTTPHeaders": each}} for each in (headers, odd)]
    client.told["get_item"] = [*responses, {}]
    assert run_sync(Queries(client.table).server_time()) == NOW + 0.5  # the middle of its second
    assert client.calls == [("get_item", {"TableName": TABLE, "Key": {"id": {"S": "clock"}}})]
    assert run_sync(Queries(client.table).server_time()) is None
    assert run_sync(Queries(client.table).server_time()) is None


def test_estimated_items_are_those_that_aws_counted(client: Recording) -> None:
    client.told["describe_table"] = [{"Table": {"ItemCount": 5}}, {}]
    assert run_sync(Queries(client.table).estimated_items()) == 5
    assert run_sync(Queries(client.table).estimated_items()) == 0
