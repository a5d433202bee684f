"""The contract of sessions' records, held by DynamoDB's stand-ins, that in memory among them."""

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import FateUnknown, InvalidRecord, SessionTooLarge
from sessions_kms.format.attributes import ITEM_MAX_BYTES
from sessions_kms.format.record import SessionRecord, Tombstone
from sessions_kms.storage.session_items import Conflict, RecordExists, SessionItems
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.records import NOW, create_record, make_record, next_record
from tests.sessions_kms.support.stacks import Stack


@pytest.fixture
def records(stack: Stack) -> SessionItems:
    return stack.services.session_items


def move(records: SessionItems, new: SessionRecord, old: SessionRecord, now: int = NOW) -> None:
    """Move; one of the stand-ins does not answer a transaction in full."""
    with suppress(FateUnknown):
        run_sync(records.move(new, old_id=old.id, expected=old, now=now))


def test_missing_record_returns_none(records: SessionItems) -> None:
    assert run_sync(records.get(make_record().id)) is None


@pytest.mark.parametrize("owner", [None, "user#django#7", "user#django#ü€😀"])
def test_record_is_read_as_it_was_written(records: SessionItems, owner: str | None) -> None:
    made = create_record(records, owner=owner)
    assert run_sync(records.get(made.id)) == made


def test_expired_record_is_still_given(records: SessionItems) -> None:
    made = create_record(records, ttl=NOW - 1)
    assert run_sync(records.get(made.id)) == made


def test_attributes_that_the_format_does_not_know_are_ignored(
    stack: Stack, records: SessionItems
) -> None:
    made = make_record()
    stack.put_item(made.to_item() | {"note": {"S": "of a later version"}})
    assert run_sync(records.get(made.id)) == made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": {"N": "2"}}, "version"),
        ({"salt": {"B": b"short"}}, "salt"),
        ({"ttl": {"S": "1800000000"}}, "ttl"),
        ({"revision": {"N": "-1"}}, "revision"),
    ],
)
def test_malformed_item_is_an_invalid_record(
    stack: Stack, records: SessionItems, change: Any, reason: str
) -> None:
    made = make_record()
    stack.put_item(made.to_item() | change)
    with pytest.raises(InvalidRecord) as caught:
        run_sync(records.get(made.id))
    assert caught.value.reason == reason


def test_create_over_a_live_record_raises_and_changes_nothing(records: SessionItems) -> None:
    made = create_record(records)
    with pytest.raises(RecordExists):
        run_sync(records.create(make_record(), now=NOW + 999))
    assert run_sync(records.get(made.id)) == made


def test_create_over_an_expired_record_replaces_it(records: SessionItems) -> None:
    old = create_record(records)
    new = make_record(ttl=NOW + 5000)
    run_sync(records.create(new, now=old.ttl))
    assert run_sync(records.get(old.id)) == new


def test_replace_puts_the_record_in_the_place_of_the_loaded_one(records: SessionItems) -> None:
    old = create_record(records)
    new = next_record(old)
    run_sync(records.replace(new, expected=old, now=old.ttl - 1))
    assert run_sync(records.get(old.id)) == new


@pytest.mark.parametrize(
    "loaded",
    [
        pytest.param({"revision": 2}, id="another revision"),
        pytest.param({"salt": b"x" * 16}, id="another salt"),
    ],
)
def test_replace_of_a_changed_record_is_a_conflict_with_the_stored_record(
    records: SessionItems, loaded: dict[str, Any]
) -> None:
    old = create_record(records)
    with pytest.raises(Conflict) as caught:
        run_sync(records.replace(next_record(old), expected=replace(old, **loaded), now=NOW))
    assert caught.value.current == old
    assert run_sync(records.get(old.id)) == old


def test_replace_of_an_expired_record_is_a_conflict(records: SessionItems) -> None:
    old = create_record(records)
    with pytest.raises(Conflict) as caught:
        run_sync(records.replace(next_record(old), expected=old, now=old.ttl))
    assert caught.value.current == old


def test_replace_of_a_deleted_record_is_a_conflict_with_nothing(
    stack: Stack, records: SessionItems
) -> None:
    old = create_record(records)
    stack.delete_item(old.id)
    with pytest.raises(Conflict) as caught:
        run_sync(records.replace(next_record(old), expected=old, now=NOW))
    assert caught.value.current is None
    assert run_sync(records.get(old.id)) is None


def test_move_puts_the_new_and_a_tombstone_over_the_old(records: SessionItems) -> None:
    old, new = create_record(records), make_record("b")
    move(records, new, old)
    assert run_sync(records.get(old.id)) is None
    assert run_sync(records.find(old.id)) == Tombstone(old.id, NOW)
    assert run_sync(records.get(new.id)) == new


def test_tombstone_is_neither_ended_nor_moved_nor_written_over(records: SessionItems) -> None:
    old, new = create_record(records), make_record("b")
    move(records, new, old)
    assert not run_sync(records.end(old.id))
    with pytest.raises(Conflict) as caught:
        run_sync(records.replace(next_record(old), expected=old, now=NOW))
    assert caught.value.current == Tombstone(old.id, NOW)
    with pytest.raises(Conflict) as caught:
        run_sync(records.move(make_record("c"), old_id=old.id, expected=old, now=NOW))
    assert caught.value.current == Tombstone(old.id, NOW)
    with pytest.raises(RecordExists):
        run_sync(records.create(make_record(), now=NOW + 599))
    assert run_sync(records.find(old.id)) == Tombstone(old.id, NOW)
    assert run_sync(records.end(new.id))
    assert run_sync(records.end(new.id))
    assert run_sync(records.get(new.id)) is None


@pytest.mark.parametrize("changed", ["revision", "salt", "gone", "expired"])
def test_move_of_a_changed_record_does_nothing_and_returns_the_stored_record(
    stack: Stack, records: SessionItems, changed: str
) -> None:
    old, new, now = create_record(records), make_record("b", ttl=NOW + 5000), NOW
    expected = old
    if changed == "revision":
        expected = replace(old, revision=2)
    elif changed == "salt":
        expected = replace(old, salt=b"x" * 16)
    elif changed == "gone":
        stack.delete_item(old.id)
    else:
        now = old.ttl
    with pytest.raises(Conflict) as caught:
        run_sync(records.move(new, old_id=old.id, expected=expected, now=now))
    assert caught.value.current == (None if changed == "gone" else old)
    assert run_sync(records.get(new.id)) is None


def test_move_onto_a_live_record_does_neither(records: SessionItems) -> None:
    old, other = create_record(records), create_record(records, "b")
    with pytest.raises(Conflict) as caught:
        run_sync(records.move(make_record("b"), old_id=old.id, expected=old, now=NOW))
    assert caught.value.current == old
    assert run_sync(records.get(old.id)) == old
    assert run_sync(records.get(other.id)) == other


def test_move_onto_an_expired_record_replaces_it(records: SessionItems) -> None:
    old = create_record(records, ttl=NOW + 5000)
    run_sync(records.create(make_record("b"), now=NOW))
    new = make_record("b", ttl=NOW + 5000)
    move(records, new, old, NOW + 1000)
    assert run_sync(records.get(new.id)) == new
    assert run_sync(records.get(old.id)) is None


def test_first_record_that_is_put_twice_is_recognised(records: SessionItems) -> None:
    first = create_record(records)
    run_sync(records.create(first, now=NOW))
    taken = make_record("c")
    for _ in range(2):
        run_sync(records.take_over(taken, mark={"id": {"S": "moved#c"}}, now=NOW))
    assert run_sync(records.get(taken.id)) == taken


def test_delete_may_be_repeated(stack: Stack, records: SessionItems) -> None:
    made = create_record(records)
    assert run_sync(stack.services.table.delete(made.id))
    assert run_sync(stack.services.table.delete(made.id))
    assert run_sync(records.get(made.id)) is None


def test_item_that_is_too_large_is_refused_with_its_sizes(
    stack: Stack, records: SessionItems
) -> None:
    old = create_record(records)
    huge = os.urandom(ITEM_MAX_BYTES)
    with pytest.raises(SessionTooLarge, match="at most 409,600"):
        run_sync(records.create(make_record("b", encrypted_data=huge), now=NOW))
    with pytest.raises(SessionTooLarge):
        run_sync(records.replace(next_record(old, encrypted_data=huge), expected=old, now=NOW))
    with pytest.raises(SessionTooLarge):
        run_sync(
            records.move(
                make_record("b", encrypted_data=huge), old_id=old.id, expected=old, now=NOW
            )
        )
    assert list(stack.sessions()) == [old.id]
    assert run_sync(records.get(old.id)) == old


def test_large_item_is_taken(records: SessionItems) -> None:
    made = create_record(records, encrypted_data=os.urandom(390_000))
    assert run_sync(records.get(made.id)) == made


def test_racing_replacements_have_one_winner(records: SessionItems) -> None:
    old = create_record(records)
    new = [next_record(old) for _ in range(6)]
    results = together(6, lambda i: run_sync(records.replace(new[i], expected=old, now=NOW)))
    winners = [each for each, result in zip(new, results, strict=True) if result is None]
    assert [type(result) for result in results].count(Conflict) == 5
    assert [run_sync(records.get(old.id))] == winners


def test_racing_moves_leave_one_record(stack: Stack, records: SessionItems) -> None:
    old = create_record(records)
    new = [make_record(name) for name in "bcdefg"]
    results = together(6, lambda i: move(records, new[i], old))
    winners = [each.id for each, result in zip(new, results, strict=True) if result is None]
    assert len(winners) == 1
    assert list(stack.sessions()) == winners
