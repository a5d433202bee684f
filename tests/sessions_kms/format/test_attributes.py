"""Attributes of items of any type, ancestors and tombstones: what is read, and what is rejected."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import ANCESTOR_BYTES, ANCESTORS_MAX, Item, binary, number, text
from sessions_kms.format.item_types import SESSION
from sessions_kms.format.record import (
    RecordHead,
    SessionRecord,
    Tombstone,
    descends,
    is_tombstone,
    next_ancestors,
    read_ancestors,
    read_tombstone,
)
from tests.support.cases import each_case
from tests.vectors.vector import load

READERS: dict[str, Callable[[Item], Any]] = {
    "N": lambda item: number(item, "a"),
    "B": lambda item: binary(item, "a", 3),
    "S": lambda item: text(item, "a"),
}
VALID = {"N": "7", "B": b"abc", "S": "abc"}
MALFORMED: list[Any] = [None, "N", ["N"], {}, {"N": 7}, {"B": "abc"}, {"S": b"abc"}, {"S": None}]
SALTS = [bytes([number]) * 16 for number in range(ANCESTORS_MAX + 2)]


@pytest.mark.parametrize("kind", READERS)
def test_attribute_of_its_type_is_read(kind: str) -> None:
    read = {"N": 7, "B": b"abc", "S": "abc"}
    assert READERS[kind]({"a": {kind: VALID[kind]}}) == read[kind]


@each_case("kind", READERS)
@each_case("attribute", MALFORMED, ids=repr)
def test_malformed_attribute_is_rejected_by_its_name(kind: str, attribute: Any) -> None:
    with pytest.raises(InvalidRecord) as raised:
        READERS[kind]({"a": attribute})
    assert raised.value.reason == "a"


@pytest.mark.parametrize("kind", READERS)
def test_attribute_of_two_types_is_rejected(kind: str) -> None:
    with pytest.raises(InvalidRecord):
        READERS[kind]({"a": {kind: VALID[kind], "NULL": True}})


@pytest.mark.parametrize("kind", READERS)
def test_missing_attribute_is_rejected(kind: str) -> None:
    with pytest.raises(InvalidRecord):
        READERS[kind]({"b": {kind: VALID[kind]}})


@pytest.mark.parametrize(
    ("length", "is_read"), [(2, False), (3, True), (4, True), (5, True), (6, False)]
)
def test_bytes_are_read_within_their_bounds(length: int, is_read: bool) -> None:
    item = {"a": {"B": bytes(length)}}
    try:
        assert binary(item, "a", 3, 5) == bytes(length)
    except InvalidRecord:
        assert not is_read
    else:
        assert is_read


def test_ancestors_are_the_beginnings_of_the_last_salts_newest_first() -> None:
    ancestors = b""
    for salt in SALTS:
        ancestors = next_ancestors(salt, ancestors)
    newest = reversed(SALTS[-ANCESTORS_MAX:])
    assert ancestors == b"".join(salt[:ANCESTOR_BYTES] for salt in newest)


def test_record_descends_from_the_salts_among_its_ancestors_and_from_no_other() -> None:
    ancestors = b""
    for salt in SALTS:
        ancestors = next_ancestors(salt, ancestors)
    assert [descends(ancestors, salt) for salt in SALTS] == [False, False] + [True] * ANCESTORS_MAX
    assert not descends(b"", SALTS[0])


def test_salt_is_found_at_the_boundaries_of_ancestors_only() -> None:
    one, two = bytes(range(16)), bytes(range(100, 116))
    ancestors = next_ancestors(one, next_ancestors(two, b""))
    assert descends(ancestors, one)
    assert descends(ancestors, two)
    assert not descends(ancestors, ancestors[1:] + bytes(16))


WHOLE = ANCESTOR_BYTES * ANCESTORS_MAX


@pytest.mark.parametrize("length", [0, ANCESTOR_BYTES, 3 * ANCESTOR_BYTES, WHOLE])
def test_whole_ancestors_are_read(length: int) -> None:
    assert read_ancestors({"B": b"a" * length}) == b"a" * length


@each_case(
    "attribute",
    [
        *(None, 7, "B", ["B"], {}, {"B": "a" * ANCESTOR_BYTES}, {"S": "a" * ANCESTOR_BYTES}),
        {"B": b"a" * ANCESTOR_BYTES, "S": "a"},
        {"B": b"a" * (ANCESTOR_BYTES - 1)},
        {"B": b"a" * (ANCESTOR_BYTES + 1)},
        {"B": b"a" * (WHOLE + ANCESTOR_BYTES)},
    ],
    ids=repr,
)
def test_malformed_ancestors_are_ignored(attribute: Any) -> None:
    """They are not sealed: a session must not end because somebody changed them."""
    assert read_ancestors(attribute) == b""


TOMBSTONE: Item = {
    "id": {"S": "a" * 43},
    "version": {"N": "1"},
    "movedAt": {"N": "1800000000"},
    "ttl": {"N": "1800000600"},
}


def test_tombstone_has_the_id_of_its_session_and_when_it_moved() -> None:
    assert read_tombstone(TOMBSTONE) == Tombstone("a" * 43, 1_800_000_000)


@pytest.mark.parametrize("part", ["encryptedData", "authTag"])
def test_item_with_any_part_of_a_ciphertext_is_no_tombstone(part: str) -> None:
    assert is_tombstone(TOMBSTONE)
    assert not is_tombstone({**TOMBSTONE, part: {"B": bytes(16)}})
    assert read_tombstone({**TOMBSTONE, part: {"B": bytes(16)}}) is None


@pytest.mark.parametrize("has_owner", [True, False])
def test_head_is_the_record_without_unread_attributes(has_owner: bool) -> None:
    item = load("signed_in").item
    if not has_owner:
        del item["owner"]
    record, head = SessionRecord.from_item(item), RecordHead.from_item(item)
    assert head.version == 1
    for name in RecordHead.__dataclass_fields__:
        assert getattr(head, name) == getattr(record, name)
    assert (head.owner is not None) is has_owner


def test_head_has_the_version_of_its_item() -> None:
    item = load("signed_in").item | {"version": {"N": "2"}}
    assert RecordHead.from_item(item, replace(SESSION, readable=frozenset({1, 2}))).version == 2
