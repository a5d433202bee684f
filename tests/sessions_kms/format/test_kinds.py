"""Kinds of item: ids are what they always were and tell the kind, and the page has the table."""

import base64
import hashlib
from dataclasses import replace

import pytest

from sessions_kms.format import kinds
from sessions_kms.format.kind import Kind
from tests.sessions_kms.support import kinds_table


def digest(text: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")


SESSION_ID = digest(b"sessions_kms/1/id\0shop\0" + b"c" * 32)
IDS = {
    SESSION_ID: (kinds.session_id("shop", "c" * 32), kinds.SESSION),
    "data-key#shop#86400": (kinds.data_key_id("shop", 86_400), kinds.DATA_KEY),
    "not-before#shop": (kinds.not_before_id("shop"), kinds.NOT_BEFORE),
    "not-before#shop#corp": (kinds.not_before_id("shop", "corp"), kinds.NOT_BEFORE),
    f"moved#shop#{SESSION_ID}": (kinds.MOVED.id_in("shop", SESSION_ID), kinds.MOVED),
    "lease#shop#" + digest(b"sessions_kms/1/lease\0shop\0" + b"s" * 32): (
        kinds.lease_id("shop", "s" * 32),
        kinds.LEASE,
    ),
    f"logout#shop#abc#{SESSION_ID}": (kinds.link_id("shop", "abc", SESSION_ID), kinds.LINK),
    "logout#shop#jti#" + digest(b"12:https://a.ex" + b"the token"): (
        kinds.logout_token_id("shop", "https://a.ex", "the token"),
        kinds.LOGOUT_TOKEN,
    ),
    f"about#shop#{SESSION_ID}": (kinds.ABOUT.id_in("shop", SESSION_ID), kinds.ABOUT),
}


@pytest.mark.parametrize("item_id", IDS, ids=lambda item_id: item_id[:20])
def test_ids_are_what_they_always_were_and_tell_the_kind(item_id: str) -> None:
    made, kind = IDS[item_id]
    assert made == item_id
    assert kinds.of(item_id) is kind


def test_every_kind_has_an_id_here() -> None:
    # A tombstone's is that of the session that moved.
    assert {kind for _, kind in IDS.values()} == set(kinds.KINDS) - {kinds.TOMBSTONE}


@pytest.mark.parametrize(
    "item_id", ["", "clock", "lease", "leases#shop#x", "#shop#x", SESSION_ID + "\n", "token#shop#x"]
)
def test_other_ids_are_of_no_kind(item_id: str) -> None:
    assert kinds.of(item_id) is None


@pytest.mark.parametrize("other", ["lease#shop2#x", "lease#shop", "about#shop#x"])
def test_id_is_in_its_namespace_alone(other: str) -> None:
    assert kinds.LEASE.is_in("shop", "lease#shop#x")
    assert not kinds.LEASE.is_in("shop", other)


def test_owner_of_links_is_what_it_always_was() -> None:
    assert kinds.link_owner("shop", "abc") == "logout#shop#abc"


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_version_that_is_not_readable_cannot_be_written(kind: Kind) -> None:
    assert 1 in kind.readable
    with pytest.raises(ValueError, match="not readable"):
        replace(kind, written=max(kind.readable) + 1)


def test_page_has_the_table_of_kinds() -> None:
    assert kinds_table.written() == kinds_table.table()
