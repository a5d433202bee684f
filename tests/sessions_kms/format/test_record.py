"""The record's item: valid ones are read, and all others raise the same error."""

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import envelope
from sessions_kms.format.attributes import ITEM_MAX_BYTES, RECORD_FIELDS, Field, Item
from sessions_kms.format.item_types import SESSION, owner_of, session_id
from sessions_kms.format.record import CLOCK_SKEW, DATA_KEY_USE, HEAD_ATTRIBUTES, SessionRecord
from sessions_kms.storage.published_keys import PublishedKey
from tests.support.cases import each_case
from tests.vectors.vector import load

NOW = 1_800_000_000
NUMBERS = ("version", "keyPeriod", "createdAt", "updatedAt", "ttl", "revision")
FIXED_LENGTHS = ("iv", "authTag", "salt", "commitment")
BINARIES = (*FIXED_LENGTHS, "encryptedData", "encryptedKey")
ATTRIBUTES = ("id", "owner", *NUMBERS, *BINARIES)
PUBLISHED: Item = {
    "id": {"S": "data-key#django#1799971200"},
    "version": {"N": "1"},
    "keyPeriod": {"N": "1799971200"},
    "encryptedKey": {"B": b"wrapped"},
    "createdAt": {"N": "1799971201"},
    "ttl": {"N": "1800144000"},
}


def good_item() -> Item:
    return load("signed_in").item


def good_record() -> SessionRecord:
    return SessionRecord.from_item(good_item())


def rejection_of(item: Any) -> str:
    """Return the reason for which an item is refused."""
    with pytest.raises(InvalidRecord) as caught:
        SessionRecord.from_item(item)
    assert str(caught.value) == "The session record is not valid."
    return caught.value.reason


# Items


def test_item_is_read_and_written_back_unchanged() -> None:
    assert good_record().to_item() == good_item()


def test_record_without_owner_has_no_such_attribute() -> None:
    assert set(replace(good_record(), owner=None).to_item()) == set(ATTRIBUTES) - {"owner"}


def test_ancestors_are_stored_if_there_are_any() -> None:
    descendant = replace(good_record(), ancestors=b"12345678")
    item = good_record().to_item() | {"ancestors": {"B": b"12345678"}}
    assert descendant.to_item() == item
    assert SessionRecord.from_item(item) == descendant


def test_unknown_attributes_are_ignored() -> None:
    more = good_item() | {"later": {"M": {"a": {"N": "1"}}}, "empty": {}}
    assert SessionRecord.from_item(more) == good_record()


@each_case("name", [name for name in ATTRIBUTES if name != "owner"])
def test_missing_attribute_is_refused(name: str) -> None:
    item = good_item()
    del item[name]
    assert rejection_of(item) == name


def test_missing_owner_is_anonymous() -> None:
    item = good_item()
    del item["owner"]
    assert SessionRecord.from_item(item).owner is None


@each_case("name", ATTRIBUTES)
@each_case(
    "value",
    [
        None,
        "1",
        1,
        b"1",
        [],
        {},
        {"NULL": True},
        {"BOOL": True},
        {"M": {}},
        {"L": []},
        {"SS": ["1"]},
        {"NS": ["1"]},
        {"BS": [b"1"]},
        {"S": None},
        {"N": None},
        {"B": None},
        {"S": b"bytes"},
        {"N": 1},
        {"N": 1.0},
        {"N": True},
        {"N": b"1"},
        {"B": "text"},
        {"B": bytearray(16)},
        {"N": "1", "S": "1"},
        {"N": ""},
        {"S": ""},
        {"s": "1"},
        {0: "1"},
    ],
    ids=repr,
)
def test_wrong_type_is_refused(name: str, value: Any) -> None:
    assert rejection_of(good_item() | {name: value}) == name


@each_case("name", BINARIES)
@each_case("kind", ["S", "N"])
def test_binary_of_another_type_is_refused(name: str, kind: str) -> None:
    assert rejection_of(good_item() | {name: {kind: "AAAA"}}) == name


@pytest.mark.parametrize("name", FIXED_LENGTHS)
def test_every_other_length_is_refused(name: str) -> None:
    right = len(good_item()[name]["B"])
    for length in {*range(2 * right + 2), 4096} - {right}:
        assert rejection_of(good_item() | {name: {"B": bytes(length)}}) == name


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("encryptedKey", (1, 6144)), ("encryptedData", (0, ITEM_MAX_BYTES))],
)
def test_lengths_within_bounds_are_taken(name: str, lengths: tuple[int, int]) -> None:
    for length in lengths:
        SessionRecord.from_item(good_item() | {name: {"B": bytes(length)}})
    assert rejection_of(good_item() | {name: {"B": bytes(lengths[1] + 1)}}) == name


def test_empty_encrypted_key_is_refused() -> None:
    assert rejection_of(good_item() | {"encryptedKey": {"B": b""}}) == "encryptedKey"


@each_case("name", NUMBERS)
@each_case(
    "number",
    [
        *("", " ", "01", "00", "1.0", "1.", ".1", "1e3", "1E3", "1e0", "-1", "-0", "+1", "+0"),
        *(" 1", "1 ", "1\n", "\n1", "1\0", "1_0", "1,0", "0x1", "1" + "0" * 38, "9" * 5000),
        *(
            "NaN",
            "Infinity",
            "-Infinity",
            "one",
            "\u0661",
            "1\u0660",
            "1\uff10",
            "\u00b9",
            "\ud800",
        ),
    ],
    ids=ascii,
)
def test_number_not_in_canonical_form_is_refused(name: str, number: str) -> None:
    assert rejection_of(good_item() | {name: {"N": number}}) == name


@each_case("name", [name for name in NUMBERS if name != "version"])
@each_case("number", ["0", "1", "10", "9" * 38])
def test_whole_number_of_up_to_38_digits_is_taken(name: str, number: str) -> None:
    item = good_item() | {name: {"N": number}}
    assert SessionRecord.from_item(item).to_item()[name] == {"N": number}


@pytest.mark.parametrize("version", ["0", "2", "3", "10", "11"])
def test_other_versions_are_refused(version: str) -> None:
    assert rejection_of(good_item() | {"version": {"N": version}}) == "version"


def test_another_version_is_refused_as_such_whatever_its_attributes() -> None:
    assert rejection_of({"version": {"N": "2"}}) == "version"


@each_case("name", ["id", "owner"])
@each_case("text", ["", "a" * 1025, "é" * 513, "\ud800", "a\udfffb", "\ud83d\ude00"], ids=ascii)
def test_text_that_is_empty_too_long_or_no_text_is_refused(name: str, text: str) -> None:
    assert rejection_of(good_item() | {name: {"S": text}}) == name


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=50)  # lone surrogates too
    | st.binary(max_size=50),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["S", "N", "B", "M", "NULL", "x"]), children, max_size=2)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*ATTRIBUTES, "later"]) | st.text(), anything))
@example({})
def test_no_item_of_any_shape_raises_anything_else(item: dict[str, Any]) -> None:
    rejection_of(item)


def assert_refused_by_name_or_written_back(name: str, value: Any) -> None:
    item = good_item() | {name: value}
    try:
        record = SessionRecord.from_item(item)
    except InvalidRecord as exc:
        reason = exc.reason
    else:
        assert record.to_item() == item
        return
    assert reason == name


@given(st.sampled_from(ATTRIBUTES), anything)
def test_no_attribute_of_any_shape_raises_anything_else(name: str, value: Any) -> None:
    assert_refused_by_name_or_written_back(name, value)


typed_anything = st.one_of(
    st.fixed_dictionaries({"S": st.text(st.characters(exclude_categories=()))}),
    st.fixed_dictionaries({"N": st.text("0123456789eE.+- ", max_size=45)}),
    st.fixed_dictionaries({"N": st.from_regex(r"0{0,2}[0-9]{1,3}", fullmatch=True)}),
    st.fixed_dictionaries({"B": st.binary(max_size=40)}),
)


@given(st.sampled_from(ATTRIBUTES), typed_anything)
def test_what_is_taken_is_written_back_the_same(name: str, value: Any) -> None:
    assert_refused_by_name_or_written_back(name, value)


def test_repr_contains_no_bytes_of_the_record() -> None:
    record = good_record()
    shown = repr(record)
    for name in BINARIES:
        assert repr(record.to_item()[name]["B"]) not in shown
    assert "b'" not in shown


# Times


def check_times(now: float, **times: int) -> str | None:
    """Return the reason for which a record's times are refused, None if they are not."""
    record = replace(good_record(), **times)  # type: ignore[arg-type]  # whole numbers only
    if record.is_ahead(now):
        return "ahead"
    try:
        record.check_times()
    except InvalidRecord as exc:
        return exc.reason
    return None


def test_updated_in_future_is_ahead_beyond_the_clock_skew() -> None:
    assert check_times(NOW, updated_at=NOW + CLOCK_SKEW, key_period=NOW) is None
    assert check_times(NOW, updated_at=NOW + CLOCK_SKEW + 1, key_period=NOW) == "ahead"
    assert check_times(NOW + 0.5, updated_at=NOW + CLOCK_SKEW + 1, key_period=NOW) == "ahead"


def test_data_key_seals_from_its_period_on_for_eight_days() -> None:
    assert DATA_KEY_USE == 8 * 24 * 3600
    for period, reason in (
        (NOW + 1, "key_period"),
        (NOW, None),
        (NOW - DATA_KEY_USE, None),
        (NOW - DATA_KEY_USE - 1, "key_period"),
        (1, "key_period"),
        (0, "key_period"),
    ):
        assert check_times(NOW, updated_at=NOW, key_period=period) == reason


def test_old_data_key_signs_no_record_that_outlives_the_absolute_timeout() -> None:
    long_ago = NOW - 365 * 86_400
    assert (
        check_times(NOW, key_period=long_ago, updated_at=long_ago, created_at=NOW)
        == "created_after_updated"
    )


@given(st.integers(0, 10**38 - 1), st.integers(0, 10**38 - 1), st.floats(0, 1e12))
def test_times_of_any_size_are_compared(updated: int, period: int, now: float) -> None:
    assert check_times(now, updated_at=updated, key_period=period) in {
        None,
        "ahead",
        "key_period",
        "created_after_updated",
    }


# Names


def test_session_id_is_a_digest_of_43_characters() -> None:
    vector = load("signed_in")
    made = session_id(vector.namespace, vector.session_key)
    assert made == vector.item["id"]["S"]
    assert re.fullmatch("[A-Za-z0-9_-]{43}", made)


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=32, max_size=32))
def test_session_id_is_no_session_key_and_no_id_of_another_kind(session_key: str) -> None:
    made = session_id("django", session_key)
    assert session_key not in made
    assert "#" not in made
    assert not re.fullmatch("[a-z0-9]{32}", made)


def test_session_id_differs_by_namespace() -> None:
    ids = {session_id(namespace, "a" * 32) for namespace in ("a", "b", "a.b", "A")}
    assert len(ids) == 4


@each_case(
    ("user_id", "owner"),
    [
        ("42", "user#django#42"),
        (42, "user#django#42"),
        (0, "user#django#0"),
        ("#", "user#django##"),
        ("Zoë", "user#django#Zoë"),
        (None, None),
        ("", None),
    ],
)
def test_owner_names_the_user(user_id: object, owner: str | None) -> None:
    assert owner_of("django", user_id) == owner


def test_owner_that_is_no_text_is_left_out() -> None:
    assert owner_of("django", "\ud800") is None


def test_owner_too_long_to_be_indexed_is_left_out() -> None:
    room = 1024 - len("user#django#")
    assert owner_of("django", "4" * room) is not None
    assert owner_of("django", "4" * (room + 1)) is None
    assert owner_of("django", "é" * (room // 2)) is not None
    assert owner_of("django", "é" * (room // 2 + 1)) is None


# Data keys


def test_published_key_is_read_and_written_back_unchanged() -> None:
    assert PublishedKey.from_item(PUBLISHED).to_item(PUBLISHED["id"]["S"]) == PUBLISHED


def test_published_key_shows_no_bytes() -> None:
    assert "wrapped" not in repr(PublishedKey.from_item(PUBLISHED))


@given(
    st.sampled_from([name for name in PUBLISHED if name != "id"]),
    st.none() | anything | typed_anything,
)
def test_published_key_of_any_shape_is_taken_or_refused(name: str, value: Any) -> None:
    item = {**PUBLISHED, name: value}
    try:
        key = PublishedKey.from_item(item)
    except InvalidRecord as exc:
        reason = exc.reason
    else:
        assert key.to_item(PUBLISHED["id"]["S"]) == item
        return
    assert reason == name


# The table of fields


def test_item_has_each_field_of_the_table_and_no_other() -> None:
    record = replace(good_record(), ancestors=bytes(8))
    item = record.to_item()
    assert {name: set(value) for name, value in item.items()} == {
        each.attribute: {each.type} for each in RECORD_FIELDS
    }
    for each in RECORD_FIELDS:
        value = getattr(record, each.name)
        stored = str(value) if each.type == "N" else value
        assert item[each.attribute] == {each.type: stored}


def test_record_has_each_field_of_the_table_and_no_other() -> None:
    assert {each.name for each in fields(SessionRecord)} == {each.name for each in RECORD_FIELDS}


def test_heads_are_read_without_ciphertext_and_ancestors() -> None:
    whole = {each.attribute for each in RECORD_FIELDS}
    assert set(HEAD_ATTRIBUTES) == whole - {"encryptedData", "ancestors"} | {"movedAt"}


@each_case("each", RECORD_FIELDS, ids=lambda each: each.name)
def test_associated_data_has_each_bound_field_of_the_table_and_no_other(each: Field) -> None:
    record = good_record()
    value = getattr(record, each.name)
    longer = {"N": 1, "S": "x", "B": b"x"}
    changed = replace(record, **{each.name: value + longer[each.type]})
    assert (associated_data(changed) != associated_data(record)) is each.is_bound


def associated_data(record: SessionRecord) -> bytes:
    """Return it without the lengths of its last two fields; vectors compare all of it."""
    _, bound = envelope._bind(record, "django", SESSION)
    return bound + record.salt + record.commitment
