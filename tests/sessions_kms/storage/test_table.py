"""The table's contract, held by DynamoDB's two stand-ins and by the fake of the other tests."""

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from sessions_kms.exceptions import FateUnknown, InvalidRecord, SessionTooLarge
from sessions_kms.format.attributes import ITEM_MAX_BYTES
from sessions_kms.format.kinds import session_id
from sessions_kms.format.published_key import PublishedKey
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.storage.table import Conflict, RecordExists, Table
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.stacks import Stack

NOW = 1_800_000_000
PERIOD = 1_799_971_200
# The fake loses no answers, so that a put which comes twice is no retry there.
servers_only = pytest.mark.parametrize("make_stack", ["moto", "servers"], indirect=True)


@pytest.fixture
def table(stack: Stack) -> Table:
    return stack.services.table


def record(name: str = "a", **changes: Any) -> SessionRecord:
    """Make a record of random bytes: the table does not look inside."""
    values: dict[str, Any] = {
        "id": session_id("django", name * 32),
        "created_at": NOW,
        "updated_at": NOW,
        "ttl": NOW + 1000,
        "revision": 1,
        "key_period": PERIOD,
        "encrypted_key": os.urandom(200),
        "salt": os.urandom(16),
        "commitment": os.urandom(32),
        "iv": os.urandom(12),
        "encrypted_data": os.urandom(100),
        "auth_tag": os.urandom(16),
    }
    return SessionRecord(**(values | changes))


def stored(table: Table, name: str = "a", **changes: Any) -> SessionRecord:
    made = record(name, **changes)
    table.create(made, now=NOW)
    return made


def following(old: SessionRecord, **changes: Any) -> SessionRecord:
    """Make the record that a save puts in the place of one."""
    return record(id=old.id, revision=old.revision + 1, **changes)


def move(table: Table, new: SessionRecord, old: SessionRecord, now: int = NOW) -> None:
    """Move; one of the stand-ins does not answer a transaction in full."""
    with suppress(FateUnknown):
        table.move(new, old_id=old.id, expected=old, now=now)


def test_missing_record_is_none(table: Table) -> None:
    assert table.get(record().id) is None


@pytest.mark.parametrize("owner", [None, "user#django#7", "user#django#ü€😀"])
def test_record_comes_back_as_it_was_put(table: Table, owner: str | None) -> None:
    made = stored(table, owner=owner)
    assert table.get(made.id) == made


def test_expired_record_is_still_given(table: Table) -> None:
    made = stored(table, ttl=NOW - 1)
    assert table.get(made.id) == made


def test_attributes_that_the_format_does_not_know_are_ignored(stack: Stack, table: Table) -> None:
    made = record()
    stack.put_item(made.to_item() | {"note": {"S": "of a later version"}})
    assert table.get(made.id) == made


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
    stack: Stack, table: Table, change: Any, reason: str
) -> None:
    made = record()
    stack.put_item(made.to_item() | change)
    with pytest.raises(InvalidRecord) as caught:
        table.get(made.id)
    assert caught.value.reason == reason


def test_create_over_a_live_record_raises_and_changes_nothing(table: Table) -> None:
    made = stored(table)
    with pytest.raises(RecordExists):
        table.create(record(), now=NOW + 999)
    assert table.get(made.id) == made


def test_create_over_an_expired_record_replaces_it(table: Table) -> None:
    old = stored(table)
    new = record(ttl=NOW + 5000)
    table.create(new, now=old.ttl)
    assert table.get(old.id) == new


def test_replace_puts_the_record_in_the_place_of_the_loaded_one(table: Table) -> None:
    old = stored(table)
    new = following(old)
    table.replace(new, expected=old, now=old.ttl - 1)
    assert table.get(old.id) == new


@pytest.mark.parametrize(
    "loaded",
    [
        pytest.param({"revision": 2}, id="another revision"),
        pytest.param({"salt": b"x" * 16}, id="another salt"),
    ],
)
def test_replace_of_what_was_changed_is_a_conflict_that_tells_what_stands(
    table: Table, loaded: dict[str, Any]
) -> None:
    old = stored(table)
    with pytest.raises(Conflict) as caught:
        table.replace(following(old), expected=replace(old, **loaded), now=NOW)
    assert caught.value.current == old
    assert table.get(old.id) == old


def test_replace_of_an_expired_record_is_a_conflict(table: Table) -> None:
    old = stored(table)
    with pytest.raises(Conflict) as caught:
        table.replace(following(old), expected=old, now=old.ttl)
    assert caught.value.current == old


def test_replace_of_a_deleted_record_is_a_conflict_with_nothing(table: Table) -> None:
    old = stored(table)
    table.delete(old.id)
    with pytest.raises(Conflict) as caught:
        table.replace(following(old), expected=old, now=NOW)
    assert caught.value.current is None
    assert table.get(old.id) is None


def test_move_puts_the_new_and_a_tombstone_over_the_old(table: Table) -> None:
    old, new = stored(table), record("b")
    move(table, new, old)
    assert table.get(old.id) is None
    assert table.find(old.id) == Tombstone(old.id, NOW)
    assert table.get(new.id) == new


def test_tombstone_is_neither_ended_nor_moved_nor_written_over(table: Table) -> None:
    old, new = stored(table), record("b")
    move(table, new, old)
    assert not table.end(old.id)
    with pytest.raises(Conflict) as caught:
        table.replace(following(old), expected=old, now=NOW)
    assert caught.value.current == Tombstone(old.id, NOW)
    with pytest.raises(Conflict) as caught:
        table.move(record("c"), old_id=old.id, expected=old, now=NOW)
    assert caught.value.current == Tombstone(old.id, NOW)
    with pytest.raises(RecordExists):
        table.create(record(), now=NOW + 599)
    assert table.find(old.id) == Tombstone(old.id, NOW)
    assert table.end(new.id)
    assert table.end(new.id)
    assert table.get(new.id) is None


@pytest.mark.parametrize("changed", ["revision", "salt", "gone", "expired"])
def test_move_of_what_was_changed_does_neither_and_tells_what_stands(
    table: Table, changed: str
) -> None:
    old, new, now = stored(table), record("b", ttl=NOW + 5000), NOW
    expected = old
    if changed == "revision":
        expected = replace(old, revision=2)
    elif changed == "salt":
        expected = replace(old, salt=b"x" * 16)
    elif changed == "gone":
        table.delete(old.id)
    else:
        now = old.ttl
    with pytest.raises(Conflict) as caught:
        table.move(new, old_id=old.id, expected=expected, now=now)
    assert caught.value.current == (None if changed == "gone" else old)
    assert table.get(new.id) is None


def test_move_onto_a_live_record_does_neither(table: Table) -> None:
    old, other = stored(table), stored(table, "b")
    with pytest.raises(Conflict) as caught:
        table.move(record("b"), old_id=old.id, expected=old, now=NOW)
    assert caught.value.current == old
    assert table.get(old.id) == old
    assert table.get(other.id) == other


def test_move_onto_an_expired_record_replaces_it(table: Table) -> None:
    old = stored(table, ttl=NOW + 5000)
    table.create(record("b"), now=NOW)
    new = record("b", ttl=NOW + 5000)
    move(table, new, old, NOW + 1000)
    assert table.get(new.id) == new
    assert table.get(old.id) is None


@servers_only
def test_first_record_that_is_put_twice_is_recognised(table: Table) -> None:
    first = stored(table)
    table.create(first, now=NOW)
    taken = record("c")
    for _ in range(2):
        table.take_over(taken, mark={"id": {"S": "moved#c"}}, now=NOW)
    assert table.get(taken.id) == taken


def test_delete_may_be_repeated(table: Table) -> None:
    made = stored(table)
    table.delete(made.id)
    table.delete(made.id)
    assert table.get(made.id) is None


def test_item_that_is_too_large_is_refused_with_its_sizes(stack: Stack, table: Table) -> None:
    old = stored(table)
    huge = os.urandom(ITEM_MAX_BYTES)
    with pytest.raises(SessionTooLarge, match="at most 409,600"):
        table.create(record("b", encrypted_data=huge), now=NOW)
    with pytest.raises(SessionTooLarge):
        table.replace(following(old, encrypted_data=huge), expected=old, now=NOW)
    with pytest.raises(SessionTooLarge):
        table.move(record("b", encrypted_data=huge), old_id=old.id, expected=old, now=NOW)
    assert list(stack.sessions()) == [old.id]
    assert table.get(old.id) == old


def test_large_item_is_taken(table: Table) -> None:
    made = stored(table, encrypted_data=os.urandom(390_000))
    assert table.get(made.id) == made


def test_racing_replacements_have_one_winner(stack: Stack, table: Table) -> None:
    old = stored(table)
    new = [following(old) for _ in range(6)]
    results = together(6, lambda i: table.replace(new[i], expected=old, now=NOW))
    winners = [each for each, result in zip(new, results, strict=True) if result is None]
    assert [type(result) for result in results].count(Conflict) == 5
    assert [table.get(old.id)] == winners


def test_racing_moves_leave_one_record(stack: Stack, table: Table) -> None:
    old = stored(table)
    new = [record(name) for name in "bcdefg"]
    results = together(6, lambda i: move(table, new[i], old))
    winners = [each.id for each, result in zip(new, results, strict=True) if result is None]
    assert len(winners) == 1
    assert list(stack.sessions()) == winners


# Data keys and the moment before which no session counts


def published(encrypted: bytes = b"wrapped", period: int = PERIOD) -> PublishedKey:
    return PublishedKey(period, encrypted, NOW, NOW + 86400)


def test_data_key_is_published_once(table: Table) -> None:
    assert table.get_data_key(PERIOD) is None
    assert table.publish_data_key(published(b"first"))
    assert not table.publish_data_key(published(b"second"))
    assert table.get_data_key(PERIOD) == published(b"first")
    assert table.get_data_key(PERIOD + 86400) is None


def test_data_key_is_replaced_only_where_the_blob_is_the_one_meant(table: Table) -> None:
    assert not table.replace_data_key(published(b"new"), old=b"old")
    assert table.get_data_key(PERIOD) is None
    table.publish_data_key(published(b"old"))
    assert not table.replace_data_key(published(b"new"), old=b"other")
    assert table.replace_data_key(published(b"new"), old=b"old")
    assert table.get_data_key(PERIOD) == published(b"new")


def test_racing_publications_have_one_winner(table: Table) -> None:
    results = together(6, lambda i: table.publish_data_key(published(b"%d" % i)))
    assert sorted(map(str, results)) == ["False"] * 5 + ["True"]
    assert table.get_data_key(PERIOD) == published(b"%d" % results.index(True))


def test_data_key_item_of_another_period_is_invalid(stack: Stack, table: Table) -> None:
    stack.put_item(published(period=PERIOD + 1).to_item(f"data-key#django#{PERIOD}"))
    with pytest.raises(InvalidRecord) as caught:
        table.get_data_key(PERIOD)
    assert caught.value.reason == "keyPeriod"


def test_not_before_is_zero_without_an_item_and_else_its_number(stack: Stack, table: Table) -> None:
    assert table.get_not_before() == 0
    item = {
        "id": {"S": "not-before#django"},
        "version": {"N": "1"},
        "notBefore": {"N": str(NOW)},
    }
    stack.put_item(item)
    assert table.get_not_before() == NOW
    for name, wrong in (("version", {"N": "2"}), ("notBefore", {"S": "now"})):
        stack.put_item(item | {name: wrong})
        with pytest.raises(InvalidRecord) as caught:
            table.get_not_before()
        assert caught.value.reason == name


def test_moment_with_a_name_is_one_of_its_own(table: Table) -> None:
    assert table.raise_not_before(NOW, "google", latest=NOW) is True
    assert table.raise_not_before(NOW, "google", latest=NOW) is False
    moments = [table.get_not_before(name) for name in ("google", "github", None)]
    assert moments == [NOW, 0, 0]
