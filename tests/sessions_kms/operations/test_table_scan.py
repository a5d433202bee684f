"""The basis of table scans: conditional deletes and changes, pages, retries."""

from collections.abc import Callable

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.operations import table_scan as sweeping
from sessions_kms.operations.purging import created_until, sealed_in
from sessions_kms.operations.rewrapping import Holder, put_wrapped
from sessions_kms.operations.table_scan import PAUSES, TableScan
from sessions_kms.storage.table import Table
from sessions_kms.storage.writes import ended_until
from tests.sessions_kms.support.faults import Fault, apply_and, drop_connection, error, respond_with
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.stacks import Stack

ID = "an-id"
ITEM: Item = {
    "id": {"S": ID},
    "createdAt": {"N": "100"},
    "ttl": {"N": "200"},
    "keyPeriod": {"N": "50"},
    "encryptedKey": {"B": b"old"},
}
Do = Callable[[Table], bool]


def rewrap(table: Table, *, old: bytes = b"old", created_at: int | None = None) -> bool:
    return put_wrapped(table, Holder(ID, (old, 50)), b"new", created_at=created_at)


@pytest.mark.parametrize(
    ("do", "done"),
    [
        (lambda table: run_sync(table.delete(ID, when=created_until(100))), True),
        (lambda table: run_sync(table.delete(ID, when=created_until(99))), False),
        (lambda table: run_sync(table.delete(ID, when=ended_until(200))), True),
        (lambda table: run_sync(table.delete(ID, when=ended_until(199))), False),
        (lambda table: run_sync(table.delete(ID, when=sealed_in(50, but=None))), True),
        (lambda table: run_sync(table.delete(ID, when=sealed_in(50, but=b"new"))), True),
        (lambda table: run_sync(table.delete(ID, when=sealed_in(50, but=b"old"))), False),
        (lambda table: run_sync(table.delete(ID, when=sealed_in(51, but=None))), False),
    ],
)
def test_item_is_deleted_only_if_unchanged(stack: Stack, do: Do, done: bool) -> None:
    stack.put_item(ITEM)
    assert do(stack.services.table) is done
    assert (ID in stack.items()) is not done


@pytest.mark.parametrize("created_at", [None, 150])
def test_data_key_is_rewrapped_and_nothing_else_changes(
    stack: Stack, created_at: int | None
) -> None:
    stack.put_item(ITEM)
    assert rewrap(stack.services.table, created_at=created_at)
    moved = {"encryptedKey": {"B": b"new"}, "createdAt": {"N": str(created_at or 100)}}
    assert stack.items()[ID] == ITEM | moved


def test_changed_data_key_is_not_rewrapped(stack: Stack) -> None:
    stack.put_item(ITEM)
    assert not rewrap(stack.services.table, old=b"other")
    assert stack.items()[ID] == ITEM


@pytest.mark.parametrize(
    "do",
    [
        lambda table: run_sync(table.delete(ID, when=created_until(2**40))),
        lambda table: run_sync(table.delete(ID, when=ended_until(2**40))),
        lambda table: run_sync(table.delete(ID, when=sealed_in(50, but=None))),
        rewrap,
    ],
)
def test_deleted_item_is_not_restored(stack: Stack, do: Do) -> None:
    assert do(stack.services.table) is False
    assert stack.items() == {}


def test_pages_give_every_item_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "ITEMS", 3)
    for number in range(10):
        stack.put_item({"id": {"S": f"id-{number}"}})
    with TableScan(stack.services) as scan:
        pages = list(scan.pages(consistent=True))
    assert max(len(page) for page in pages) <= 3
    found = [item["id"]["S"] for page in pages for item in page]
    assert sorted(found) == [f"id-{number}" for number in range(10)]


def test_results_come_in_the_order_of_the_things(fake: Stack) -> None:
    with TableScan(fake.services) as scan:
        assert scan.each(lambda number: number * 2, range(50)) == list(range(0, 100, 2))


def test_persistent_failure_ends_after_some_attempts(fake: Stack) -> None:
    tries: list[int] = []

    def fail(number: int) -> None:
        tries.append(number)
        raise TableUnavailable

    with TableScan(fake.services) as scan, pytest.raises(TableUnavailable):
        scan.each(fail, [1])
    assert len(tries) == len(PAUSES) + 1


def test_refused_kms_key_is_not_used_again(fake: Stack) -> None:
    tries: list[int] = []

    def refuse(number: int) -> None:
        tries.append(number)
        raise KMSUnavailable(refused_key="arn")

    with TableScan(fake.services) as scan, pytest.raises(KMSUnavailable):
        scan.each(refuse, [1])
    assert tries == [1]


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
@pytest.mark.parametrize("fault", [apply_and(drop_connection), apply_and(respond_with(b"{}"))])
def test_write_whose_response_was_lost_is_not_made_twice(faulty: FaultyStack, fault: Fault) -> None:
    faulty.stack.put_item(ITEM)
    faulty.table.on("DeleteItem", fault, times=1)
    # Made by the first try, it is not there for the second: nothing of the kind is.
    assert not run_sync(faulty.stack.services.table.delete(ID, when=created_until(100)))
    assert faulty.stack.items() == {}


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
def test_delete_outlasts_a_key_change_of_the_session(faulty: FaultyStack) -> None:
    faulty.stack.put_item(ITEM)
    faulty.table.on("DeleteItem", error("TransactionConflictException"), times=3)
    assert run_sync(faulty.stack.services.table.delete(ID, when=created_until(100)))
    assert faulty.stack.items() == {}


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
@pytest.mark.parametrize(
    ("operation", "do"),
    [
        ("DeleteItem", lambda table: run_sync(table.delete(ID, when=created_until(100)))),
        ("UpdateItem", rewrap),
    ],
)
def test_write_with_an_incomplete_response_is_an_error(
    faulty: FaultyStack, operation: str, do: Do
) -> None:
    faulty.stack.put_item(ITEM)
    faulty.table.on(operation, respond_with(b"{}"))
    with pytest.raises(TableUnavailable):
        do(faulty.stack.services.table)
