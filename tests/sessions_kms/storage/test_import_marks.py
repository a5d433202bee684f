"""Sessions imported with their mark, marked, and given back: both writes or neither."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sessions_kms.aws.table_client import CONNECTION
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import Item
from sessions_kms.storage.session_items import RecordExists
from tests.sessions_kms.support.recording import (
    NOW,
    Recording,
    Suspect,
    in_conflict,
    nothing_done,
    record,
)
from tests.sessions_kms.support.wire import Fault, truncate_response


def test_take_over_outlasts_another_one_of_the_same_session(client: Recording) -> None:
    made, mark = record("a"), {"id": {"S": "moved#a"}}
    client.memory.wire.strike(0, in_conflict)
    run_sync(client.records.take_over(made, mark=mark, now=NOW))
    assert client.memory.items == {"a": made.to_item(), "moved#a": mark}


@pytest.mark.parametrize(
    ("fault", "operations"),
    [
        pytest.param(truncate_response, ["transact_write_items", "get_item"], id="applied"),
        pytest.param(
            nothing_done,
            ["transact_write_items", "get_item", "transact_write_items"],
            id="not applied",
        ),
    ],
)
def test_take_over_whose_response_was_lost_is_looked_for_and_made_again_if_it_was_not(
    client: Recording, fault: Fault, operations: list[str]
) -> None:
    made, mark = record("a"), {"id": {"S": "moved#a"}}
    client.memory.wire.strike(0, fault)
    run_sync(client.records.take_over(made, mark=mark, now=NOW))
    assert client.operations() == operations
    assert client.memory.items == {"a": made.to_item(), "moved#a": mark}


@pytest.mark.parametrize("stands", ["record", "mark"])
def test_nothing_is_taken_over_twice(client: Recording, stands: str) -> None:
    mark: Item = {"id": {"S": "moved#a"}}
    there = record("a").to_item() if stands == "record" else mark
    before = {there["id"]["S"]: there}
    client.memory.items.update(before)
    with pytest.raises(RecordExists):
        run_sync(client.records.take_over(record("a"), mark=mark, now=NOW))
    assert client.memory.items == before


MARK: Item = {"id": {"S": "moved#a"}}
NOT_AS_LOADED = [
    pytest.param({"revision": 2}, NOW, id="saved meanwhile"),
    pytest.param({"salt": bytes(16)}, NOW, id="made anew"),
    pytest.param({}, NOW + 1000, id="ended"),
]


def test_record_is_marked_as_it_was_loaded(client: Recording) -> None:
    made = record("a")
    client.memory.items["a"] = made.to_item()
    assert run_sync(client.records.mark("a", expected=made, mark=MARK, now=NOW))
    assert client.memory.items == {"a": made.to_item(), "moved#a": MARK}


@pytest.mark.parametrize(("changes", "now"), NOT_AS_LOADED)
def test_changed_record_is_not_marked(client: Recording, changes: dict[str, Any], now: int) -> None:
    loaded = record("a")
    stands = replace(loaded, **changes).to_item()
    client.memory.items["a"] = stands
    assert not run_sync(client.records.mark("a", expected=loaded, mark=MARK, now=now))
    assert client.memory.items == {"a": stands}
    assert not run_sync(client.records.mark("b", expected=loaded, mark=MARK, now=now))
    assert client.memory.items == {"a": stands}


def test_record_and_its_mark_are_given_back(client: Recording) -> None:
    made = record("a")
    client.memory.items.update({"a": made.to_item(), "moved#a": MARK, "moved#b": MARK})
    run_sync(client.records.give_back("a", expected=made, mark_id="moved#a", now=NOW))
    assert client.memory.items == {"moved#b": MARK}


@pytest.mark.parametrize(("changes", "now"), NOT_AS_LOADED)
def test_changed_record_is_not_given_back(
    client: Recording, changes: dict[str, Any], now: int
) -> None:
    loaded = record("a")
    before = {"a": replace(loaded, **changes).to_item(), "moved#a": MARK}
    client.memory.items.update(before)
    run_sync(client.records.give_back("a", expected=loaded, mark_id="moved#a", now=now))
    assert client.memory.items == before


@pytest.mark.parametrize(
    ("fault", "again"), [pytest.param(truncate_response, 0, id="applied"), (nothing_done, 1)]
)
def test_mark_and_its_end_are_looked_for_when_the_response_was_lost(
    client: Recording, fault: Fault, again: int
) -> None:
    made = record("a")
    client.memory.items["a"] = made.to_item()
    asked = ["transact_write_items", "get_item", *["transact_write_items"] * again]
    client.memory.wire.strike(1, fault)
    assert run_sync(client.records.mark("a", expected=made, mark=MARK, now=NOW))
    assert client.operations() == ["get_item", *asked]
    assert set(client.memory.items) == {"a", "moved#a"}
    client.calls.clear()
    client.memory.wire.strike(0, fault)
    run_sync(client.records.give_back("a", expected=made, mark_id="moved#a", now=NOW))
    assert client.operations() == asked
    assert client.memory.items == {}


NOTE: Item = {"note": {"S": "n"}}


class OnConnections(Recording):
    """Answers come on connections, as those of the built-in client do."""

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        call = super().__getattr__(operation)
        return lambda **asked: call(**asked) | {"ResponseMetadata": {CONNECTION: Suspect()}}


def test_both_writes_are_looked_for_where_a_response_may_be_of_another_request() -> None:
    client = OnConnections()
    made, mark = record("a"), {"id": {"S": "moved#a"}}
    steps: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.records.take_over(made, mark=mark, now=NOW), "a"),
        (lambda: client.records.mark("a", expected=made, mark=mark | NOTE, now=NOW), "moved#a"),
        (lambda: client.records.give_back("a", expected=made, mark_id="moved#a", now=NOW), "a"),
    ]
    for step, read in steps:
        client.calls.clear()
        run_sync(step())
        *_, (write, _), (look, asked) = client.calls
        assert (write, look) == ("transact_write_items", "get_item")
        assert asked["Key"] == {"id": {"S": read}}
        assert client.operations().count(write) == 1
    assert client.memory.items == {}
