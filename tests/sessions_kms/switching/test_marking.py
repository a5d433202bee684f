"""The table's part in the way back: a mark beside a record, and both gone at once."""

from __future__ import annotations

from typing import Any

import pytest

from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import SessionRecord
from sessions_kms.storage.table import Table
from tests.sessions_kms.storage.test_table import NOW, following, stored
from tests.sessions_kms.support.faults import Fault, applied, changed, cut_off, dropped, error
from tests.sessions_kms.support.faulty import MakeFaulty
from tests.sessions_kms.support.faulty import make_faulty as make_faulty_fixture
from tests.sessions_kms.support.stacks import Stack

make_faulty = make_faulty_fixture
servers_only = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
MARK: Item = {"id": {"S": "moved#django#a"}, "version": {"N": "1"}, "ttl": {"N": str(NOW + 1000)}}


def mark(table: Table, at: SessionRecord) -> bool:
    return table.mark(at.id, expected=at, mark=MARK, now=NOW)


def give_back(table: Table, at: SessionRecord) -> None:
    table.give_back(at.id, expected=at, mark_id="moved#django#a", now=NOW)


def test_mark_stands_beside_its_record_and_both_go_at_once(stack: Stack) -> None:
    table = stack.services.table
    first = stored(table)
    assert mark(table, first)
    assert stack.items() == {first.id: first.to_item(), "moved#django#a": MARK}
    assert mark(table, first)
    give_back(table, first)
    assert stack.items() == {}


def test_record_that_was_never_marked_goes_alone(stack: Stack) -> None:
    first = stored(stack.services.table)
    give_back(stack.services.table, first)
    assert stack.items() == {}


@pytest.mark.parametrize("now", ["gone", "changed", "expired"])
def test_record_that_is_not_as_it_was_loaded_is_not_marked_and_stays(
    stack: Stack, now: str
) -> None:
    table = stack.services.table
    loaded = stored(table, ttl=NOW if now == "expired" else NOW + 1000)
    if now == "gone":
        table.delete(loaded.id)
    if now == "changed":
        table.replace(following(loaded), expected=loaded, now=NOW)
    stack.put_item(MARK)
    before = stack.items()
    assert not mark(table, loaded)
    give_back(table, loaded)
    assert stack.items() == before


LOST: dict[str, Fault] = {
    "dropped": applied(dropped),
    "cut off": cut_off,
    "empty": changed(lambda _: b"{}"),
}


@servers_only
@pytest.mark.parametrize("lost", LOST)
def test_answer_that_was_lost_is_made_up_for(make_faulty: MakeFaulty, lost: str) -> None:
    faulty = make_faulty()
    table = faulty.stack.services.table
    first = stored(table)
    faulty.table.on("TransactWriteItems", LOST[lost])
    assert mark(table, first)
    assert set(faulty.stack.items()) == {first.id, "moved#django#a"}
    give_back(table, first)
    assert faulty.stack.items() == {}


@servers_only
@pytest.mark.parametrize("fault", [dropped, error("AccessDeniedException")])
def test_outage_is_told_and_changes_nothing(make_faulty: MakeFaulty, fault: Fault) -> None:
    faulty = make_faulty()
    table = faulty.stack.services.table
    first = stored(table)
    faulty.table.on("TransactWriteItems", fault)
    for write in (mark, give_back):
        with pytest.raises(TableUnavailable):
            write(table, first)
        assert set(faulty.stack.items()) == {first.id}


@servers_only
def test_transaction_in_conflict_for_long_is_an_outage(make_faulty: MakeFaulty) -> None:
    faulty = make_faulty()
    table = faulty.stack.services.table
    first = stored(table)
    reasons: list[Any] = [{"Code": "TransactionConflict"}, {"Code": "None"}]
    conflict = error("TransactionCanceledException", CancellationReasons=reasons)
    faulty.table.on("TransactWriteItems", conflict)
    for write in (mark, give_back):
        with pytest.raises(TableUnavailable):
            write(table, first)
    assert set(faulty.stack.items()) == {first.id}
