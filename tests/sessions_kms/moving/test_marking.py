"""The table's part in the way back: a mark beside a record, and both gone at once."""

from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import SessionRecord
from sessions_kms.storage.session_items import SessionItems
from tests.sessions_kms.support import faults
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.records import NOW, create_record, next_record
from tests.sessions_kms.support.stacks import Stack

servers_only = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
MARK: Item = {"id": {"S": "moved#django#a"}, "version": {"N": "1"}, "ttl": {"N": str(NOW + 1000)}}


def mark(records: SessionItems, at: SessionRecord) -> bool:
    return run_sync(records.mark(at.id, expected=at, mark=MARK, now=NOW))


def give_back(records: SessionItems, at: SessionRecord) -> None:
    run_sync(records.give_back(at.id, expected=at, mark_id="moved#django#a", now=NOW))


def test_mark_and_its_record_are_deleted_together(stack: Stack) -> None:
    records = stack.services.session_items
    first = create_record(records)
    assert mark(records, first)
    assert stack.items() == {first.id: first.to_item(), "moved#django#a": MARK}
    assert mark(records, first)
    give_back(records, first)
    assert stack.items() == {}


def test_unmarked_record_is_deleted_alone(stack: Stack) -> None:
    first = create_record(stack.services.session_items)
    give_back(stack.services.session_items, first)
    assert stack.items() == {}


@pytest.mark.parametrize("now", ["gone", "changed", "expired"])
def test_changed_record_is_not_marked_and_stays(stack: Stack, now: str) -> None:
    records = stack.services.session_items
    loaded = create_record(records, ttl=NOW if now == "expired" else NOW + 1000)
    if now == "gone":
        stack.delete_item(loaded.id)
    if now == "changed":
        run_sync(records.replace(next_record(loaded), expected=loaded, now=NOW))
    stack.put_item(MARK)
    before = stack.items()
    assert not mark(records, loaded)
    give_back(records, loaded)
    assert stack.items() == before


LOST: dict[str, faults.Fault] = {
    "dropped": faults.apply_and(faults.drop_connection),
    "cut off": faults.cut_off,
    "empty": faults.change_response(lambda _: b"{}"),
}


@servers_only
@pytest.mark.parametrize("lost", LOST)
def test_response_that_was_lost_is_made_up_for(faulty: FaultyStack, lost: str) -> None:
    records = faulty.stack.services.session_items
    first = create_record(records)
    faulty.table.on("TransactWriteItems", LOST[lost])
    assert mark(records, first)
    assert set(faulty.stack.items()) == {first.id, "moved#django#a"}
    give_back(records, first)
    assert faulty.stack.items() == {}


@servers_only
@pytest.mark.parametrize("fault", [faults.drop_connection, faults.error("AccessDeniedException")])
def test_outage_is_reported_and_changes_nothing(faulty: FaultyStack, fault: faults.Fault) -> None:
    records = faulty.stack.services.session_items
    first = create_record(records)
    faulty.table.on("TransactWriteItems", fault)
    for write in (mark, give_back):
        with pytest.raises(TableUnavailable):
            write(records, first)
        assert set(faulty.stack.items()) == {first.id}


@servers_only
def test_transaction_in_conflict_for_long_is_an_outage(faulty: FaultyStack) -> None:
    records = faulty.stack.services.session_items
    first = create_record(records)
    reasons: list[Any] = [{"Code": "TransactionConflict"}, {"Code": "None"}]
    conflict = faults.error("TransactionCanceledException", CancellationReasons=reasons)
    faulty.table.on("TransactWriteItems", conflict)
    for write in (mark, give_back):
        with pytest.raises(TableUnavailable):
            write(records, first)
    assert set(faulty.stack.items()) == {first.id}
