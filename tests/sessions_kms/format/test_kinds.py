"""Kinds of item: ids are what they always were and tell the kind, and the page has the table."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from sessions_kms.format import kinds
from sessions_kms.format.kind import Kind
from tests.sessions_kms.support import kinds_table


def digest(text: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")


def answer_id(namespace: str, token: str) -> str:
    return kinds.answer_id(kinds.token_id(namespace, token))


SESSION_ID = digest(b"sessions_kms/1/id\0shop\0" + b"c" * 32)
IDS: dict[str, tuple[Kind, Callable[..., str], tuple[object, ...]]] = {
    SESSION_ID: (kinds.SESSION, kinds.session_id, ("c" * 32,)),
    "data-key#shop#86400": (kinds.DATA_KEY, kinds.data_key_id, (86_400,)),
    "not-before#shop": (kinds.NOT_BEFORE, kinds.not_before_id, ()),
    "not-before#shop#corp": (kinds.NOT_BEFORE, kinds.not_before_id, ("corp",)),
    f"moved#shop#{SESSION_ID}": (kinds.MOVED, kinds.MOVED.id_in, (SESSION_ID,)),
    "lease#shop#" + digest(b"sessions_kms/1/lease\0shop\0" + b"s" * 32): (
        kinds.LEASE,
        kinds.lease_id,
        ("s" * 32,),
    ),
    f"logout#shop#abc#{SESSION_ID}": (kinds.LINK, kinds.link_id, ("abc", SESSION_ID)),
    "logout#shop#jti#" + digest(b"12:https://a.exthe token\xed\xa0\x80"): (
        kinds.LOGOUT_TOKEN,
        kinds.logout_token_id,
        ("https://a.ex", "the token\ud800"),
    ),
    "token#shop#" + digest(b"sessions_kms/1/token\0shop\0gwr_" + b"t" * 32): (
        kinds.TOKEN,
        kinds.token_id,
        ("gwr_" + "t" * 32,),
    ),
    "answer#shop#" + digest(b"sessions_kms/1/token\0shop\0gwr_" + b"t" * 32): (
        kinds.ANSWER,
        answer_id,
        ("gwr_" + "t" * 32,),
    ),
    f"about#shop#{SESSION_ID}": (kinds.ABOUT, kinds.ABOUT.id_in, (SESSION_ID,)),
}


@pytest.mark.parametrize("item_id", IDS, ids=lambda item_id: item_id[:20])
def test_ids_are_what_they_always_were_and_tell_the_kind(item_id: str) -> None:
    kind, made, names = IDS[item_id]
    assert made("shop", *names) == item_id
    assert kinds.of(item_id) is kind


def test_every_kind_has_an_id_here() -> None:
    # A tombstone's is that of the session that moved.
    assert {kind for kind, *_ in IDS.values()} == set(kinds.KINDS) - {kinds.TOMBSTONE}


@pytest.mark.parametrize(
    "item_id",
    ["", "clock", "lease", "leases#shop#x", "#shop#x", SESSION_ID + "\n", "tokens#shop#x"],
)
def test_other_ids_are_of_no_kind(item_id: str) -> None:
    assert kinds.of(item_id) is None


@pytest.mark.parametrize("other", ["lease#shop2#x", "lease#shop", "about#shop#x"])
def test_id_is_in_its_namespace_alone(other: str) -> None:
    assert kinds.LEASE.is_in("shop", "lease#shop#x")
    assert not kinds.LEASE.is_in("shop", other)


def test_links_are_found_by_their_name_and_lead_to_a_session() -> None:
    assert kinds.link_owner("shop", "abc") == "logout#shop#abc"
    assert kinds.linked_session(kinds.link_id("shop", "abc", SESSION_ID)) == SESSION_ID


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_version_that_is_not_readable_cannot_be_written(kind: Kind) -> None:
    assert 1 in kind.readable
    with pytest.raises(ValueError, match="not readable"):
        replace(kind, written=max(kind.readable) + 1)


def test_page_has_the_table_of_kinds() -> None:
    assert kinds_table.written() == kinds_table.table()
