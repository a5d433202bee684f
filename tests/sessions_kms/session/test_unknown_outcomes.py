"""Every write but the session's own save and key change, with its response lost.

`docs/operations.md` lists them. Each is struck before and after it is applied, and by a request
that arrives long after: what stands is what one undisturbed write leaves, or it is 503.
"""

from collections.abc import Callable
from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item, as_binary
from sessions_kms.format.record import SessionRecord
from sessions_kms.storage.published_keys import PublishedKey
from sessions_kms.storage.writes import REPEATS_MAX, equal
from sessions_kms.testing.dynamodb import Handle
from tests import ROOT
from tests.sessions_kms.support import wire
from tests.sessions_kms.support.memory_dynamodb import MemoryDynamoDB
from tests.sessions_kms.support.records import NOW, PERIOD, make_record
from tests.sessions_kms.support.stacks import Items
from tests.sessions_kms.support.wire import Fault, Wire
from tests.support.cases import each_case

DOCUMENT = ROOT / "docs" / "operations.md"
LOST = ("unreachable", "lost", "late", "truncated", "delayed_by_a_call", "delayed_for_long")
MARK: Item = {"id": {"S": "moved#django#a"}, "ttl": {"N": "1"}}
LEASE: Item = {"id": {"S": "lease#django#a"}, "stamp": {"B": b"new"}}
FIRST = make_record("a")
NAMED: Item = {"id": {"S": "logout#django#1"}}


def data_key(encrypted: bytes) -> PublishedKey:
    return PublishedKey(PERIOD, encrypted, NOW, NOW + 1000)


def with_record(items: Items) -> SessionRecord:
    run_sync(items.sessions.create(FIRST, now=NOW))
    return FIRST


def mark_item(items: Items) -> Any:
    return run_sync(items.sessions.mark(FIRST.id, expected=FIRST, mark=MARK, now=NOW))


def give_back(items: Items) -> Any:
    return run_sync(
        items.sessions.give_back(FIRST.id, expected=FIRST, mark_id=MARK["id"]["S"], now=NOW)
    )


def rewrap_key(items: Items) -> Any:
    # Whether it was this request that did it is not always told.
    old = equal("encryptedKey", as_binary(FIRST.encrypted_key))
    run_sync(items.table.update(FIRST.id, {"encryptedKey": as_binary(b"other")}, when=old))


def raise_cutoff(items: Items) -> Any:
    run_sync(items.moments.raise_to(NOW, latest=NOW + 300))


def publish_key(items: Items) -> Any:
    run_sync(items.data_keys.publish(data_key(b"mine")))


def replace_session(items: Items) -> Any:
    run_sync(items.data_keys.replace(data_key(b"mine"), old=b"old"))


def create_item(items: Items) -> Any:
    return run_sync(items.sessions.create(FIRST, now=NOW))


def delete_item(items: Items) -> Any:
    return run_sync(items.table.delete(FIRST.id))


Prepare = Callable[[Items], object]
NOTHING: Prepare = lambda _: None  # noqa: E731
# Its words in the document, what is there before, and the write.
WRITES: dict[str, tuple[str, Prepare, Callable[[Items], Any]]] = {
    "create": ("Creating a session", NOTHING, create_item),
    "end": ("Deleting", with_record, lambda items: run_sync(items.sessions.end(FIRST.id))),
    "delete": ("`logout#`", with_record, delete_item),
    "put": ("`logout#`", NOTHING, lambda items: run_sync(items.table.put(NAMED))),
    "mark": ("`moved#`", with_record, mark_item),
    "take over": (
        "moving it", NOTHING,
        lambda items: run_sync(items.sessions.take_over(FIRST, mark=MARK, now=NOW)),
    ),
    "give back": (
        "moving it",
        lambda items: (with_record(items), mark_item(items)), give_back,
    ),
    "lease, first": (
        "Leases", NOTHING, lambda items: run_sync(items.table.put_stamped(LEASE, expected=None)),
    ),
    "lease, again": (
        "Leases", lambda items: run_sync(items.table.put(LEASE | {"stamp": {"B": b"old"}})),
        lambda items: run_sync(items.table.put_stamped(LEASE, expected=b"old")),
    ),
    "not-before": ("not-before", NOTHING, raise_cutoff),
    "not-before, with a name": (
        "not-before", NOTHING,
        lambda items: run_sync(items.moments.raise_to(NOW, "google", latest=NOW + 300)) and None,
    ),
    "publish": ("data-key items", NOTHING, publish_key),
    "replace": (
        "data-key items",
        lambda items: run_sync(items.data_keys.publish(data_key(b"old"))), replace_session,
    ),
    "rewrap": ("`rewrap_sessions`", with_record, rewrap_key),
}  # fmt: skip


class Struck(Wire):
    """Strikes the first write of all, wherever it comes."""

    fault: Fault | None = None
    always: bool = False

    def send(self, operation: str, handle: Handle) -> Any:
        if self.fault and operation not in {"GetItem", "Query"}:
            self.strike(0, self.fault)
            if not self.always:
                self.fault = None
        return super().send(operation, handle)


def run(name: str, fault: Fault | None = None, *, always: bool = False) -> tuple[Any, Any, Struck]:
    """Do one write; give what it told, what stands when all has arrived, and the calls."""
    _, prepare, write = WRITES[name]
    struck = Struck()
    memory = MemoryDynamoDB(struck)
    items = Items(memory)
    prepare(items)
    struck.calls.clear()
    struck.fault, struck.always = fault, always
    try:
        result = write(items)
    except TableUnavailable:
        result = TableUnavailable
    struck.arrive()
    return result, memory.items, struck


@each_case("name", WRITES)
def test_write_with_a_lost_response_is_applied_once_or_reported_as_unknown(name: str) -> None:
    undisturbed, stands, _ = run(name)
    for lost in LOST:
        result, found, struck = run(name, wire.FAULTS[lost])
        if name == "create" and result is TableUnavailable:  # Never again under this key.
            assert struck.calls.count("PutItem") == 1
            continue
        if result is not TableUnavailable:
            assert result in (undisturbed, False), lost
        assert found == stands, lost


@each_case("name", WRITES)
def test_write_whose_responses_are_all_lost_ends_as_unknown(name: str) -> None:
    result, _, struck = run(name, wire.FAULTS["unreachable"], always=True)
    assert result is TableUnavailable
    writes = [call for call in struck.calls if call != "GetItem"]
    assert len(writes) == (1 if name == "create" else REPEATS_MAX)


@each_case("name", WRITES)
def test_write_that_was_certainly_not_applied_is_sent_again(name: str) -> None:
    undisturbed, stands, _ = run(name)
    for lost in ("unconnected", "throttled"):
        result, found, struck = run(name, wire.FAULTS[lost])
        assert (result, found) == (undisturbed, stands)
        assert "GetItem" not in struck.calls or name == "mark", "nothing was to be looked for"


def test_lease_taken_over_after_a_lost_response_is_not_reported_as_lost() -> None:
    result: list[Any] = []

    def take(handle: Handle) -> Any:
        wire.handle_now(handle)
        memory.items[LEASE["id"]["S"]] = LEASE | {"stamp": {"B": b"of another"}}
        raise ConnectionError

    struck = Wire()
    memory = MemoryDynamoDB(struck)
    items = Items(memory)
    struck.strike(0, take)
    with pytest.raises(TableUnavailable):
        result.append(run_sync(items.table.put_stamped(LEASE, expected=None)))
    assert result == []


def test_document_lists_every_write() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Writes whose answer is lost")[2]
    for name, _, _ in WRITES.values():
        assert name in section


def test_record_that_was_replaced_is_not_taken_over_by_a_late_request() -> None:
    struck = Wire()
    memory = MemoryDynamoDB(struck)
    items = Items(memory)
    struck.strike(0, wire.FAULTS["delayed_for_long"])
    run_sync(items.sessions.take_over(FIRST, mark=MARK, now=NOW))
    assert run_sync(items.sessions.end(FIRST.id))
    struck.arrive()
    assert run_sync(items.table.get(FIRST.id)) is None, "revived"
