"""Item types: their ids are stable and documented."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from sessions_kms.format import item_types
from sessions_kms.format.item_types import ItemType
from tests.sessions_kms.support import kinds_table
from tests.support.cases import each_case


def digest(text: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")


def answer_id(namespace: str, token: str) -> str:
    return item_types.answer_id(item_types.token_id(namespace, token))


SESSION_ID = digest(b"sessions_kms/1/id\0shop\0" + b"c" * 32)
IDS: dict[str, tuple[ItemType, Callable[..., str], tuple[object, ...]]] = {
    SESSION_ID: (item_types.SESSION, item_types.session_id, ("c" * 32,)),
    "data-key#shop#86400": (item_types.DATA_KEY, item_types.data_key_id, (86_400,)),
    "not-before#shop": (item_types.NOT_BEFORE, item_types.not_before_id, ()),
    "not-before#shop#corp": (item_types.NOT_BEFORE, item_types.not_before_id, ("corp",)),
    f"moved#shop#{SESSION_ID}": (item_types.MOVED, item_types.MOVED.id_in, (SESSION_ID,)),
    "lease#shop#" + digest(b"sessions_kms/1/lease\0shop\0" + b"s" * 32): (
        item_types.LEASE,
        item_types.lease_id,
        ("s" * 32,),
    ),
    f"logout#shop#abc#{SESSION_ID}": (item_types.LINK, item_types.link_id, ("abc", SESSION_ID)),
    "logout#shop#jti#" + digest(b"12:https://a.exthe token\xed\xa0\x80"): (
        item_types.LOGOUT_TOKEN,
        item_types.logout_token_id,
        ("https://a.ex", "the token\ud800"),
    ),
    "assertion#shop#" + digest(b"12:https://a.exthe jti"): (
        item_types.ASSERTION,
        item_types.assertion_id,
        ("https://a.ex", "the jti"),
    ),
    "assertion#shop#" + digest(b"19:id-jag https://a.exthe jti"): (
        item_types.ASSERTION,
        item_types.identity_assertion_id,
        ("https://a.ex", "the jti"),
    ),
    "token#shop#" + digest(b"sessions_kms/1/token\0shop\0gwr_" + b"t" * 32): (
        item_types.TOKEN,
        item_types.token_id,
        ("gwr_" + "t" * 32,),
    ),
    "answer#shop#" + digest(b"sessions_kms/1/token\0shop\0gwr_" + b"t" * 32): (
        item_types.ANSWER,
        answer_id,
        ("gwr_" + "t" * 32,),
    ),
    f"about#shop#{SESSION_ID}": (item_types.ABOUT, item_types.ABOUT.id_in, (SESSION_ID,)),
    "audit#shop#0a1b2c": (item_types.AUDIT_WRITER, item_types.audit_writer_id, ("0a1b2c",)),
    "document#shop#pin/wiki": (item_types.DOCUMENT, item_types.DOCUMENT.id_in, ("pin/wiki",)),
}


@each_case("item_id", IDS, ids=lambda item_id: item_id[:20])
def test_ids_are_unchanged_and_identify_the_kind(item_id: str) -> None:
    kind, made, names = IDS[item_id]
    assert made("shop", *names) == item_id
    assert item_types.find_type(item_id) is kind


def test_every_kind_has_an_id_here() -> None:
    # A tombstone's is that of the session that moved.
    assert {kind for kind, *_ in IDS.values()} == set(item_types.ITEM_TYPES) - {
        item_types.TOMBSTONE
    }


@each_case(
    "item_id",
    ["", "clock", "lease", "leases#shop#x", "#shop#x", SESSION_ID + "\n", "tokens#shop#x"],
)
def test_other_ids_are_of_no_kind(item_id: str) -> None:
    assert item_types.find_type(item_id) is None


@pytest.mark.parametrize("other", ["lease#shop2#x", "lease#shop", "about#shop#x"])
def test_id_is_in_its_namespace_alone(other: str) -> None:
    assert item_types.LEASE.is_in("shop", "lease#shop#x")
    assert not item_types.LEASE.is_in("shop", other)


def test_links_are_found_by_their_name_and_lead_to_a_session() -> None:
    assert item_types.link_owner("shop", "abc") == "logout#shop#abc"
    assert item_types.linked_session(item_types.link_id("shop", "abc", SESSION_ID)) == SESSION_ID


@each_case("kind", item_types.ITEM_TYPES, ids=lambda kind: kind.name)
def test_version_that_is_not_readable_cannot_be_written(kind: ItemType) -> None:
    assert 1 in kind.readable
    with pytest.raises(ValueError, match="not readable"):
        replace(kind, written=max(kind.readable) + 1)


def test_page_has_the_table_of_item_types() -> None:
    assert kinds_table.write_table() == kinds_table.table()


def test_commands_treat_every_item_that_they_must() -> None:
    for kind in item_types.ITEM_TYPES:
        attributes = {*kind.attributes, *kind.optional}
        assert kind.is_rewrapped == ("encryptedKey" in attributes)
        assert kind.is_cleared == ("ttl" in attributes)
    ended = {kind.name for kind in item_types.ITEM_TYPES if kind.ends_with_sessions}
    assert ended == {"session metadata", "token", "answer"}
    leaked = {kind.name for kind in item_types.ITEM_TYPES if kind.ends_with_data_key}
    assert leaked == {*ended, "document"}


def test_page_lists_the_attributes_of_a_session() -> None:
    """With their types, and which are optional: the table calls the others sealed."""
    listed = kinds_table.PAGE.read_text(encoding="utf-8").partition("\n## The item\n")[2]
    found = re.findall(
        r"^- `(\w+)` \(([SNB])\b(.*?)\):", listed.partition("\n## ")[0], re.MULTILINE
    )
    required = {name: of for name, of, more in found if "optional" not in more}
    assert required == item_types.SESSION.attributes
    assert {name: of for name, of, _ in found} == required | {**item_types.SESSION.optional}
