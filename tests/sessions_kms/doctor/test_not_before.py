"""A moment of not-before that is to come, or cannot be read, is found, and its remedy helps."""

import time

import pytest

from sessions_kms.storage import not_before
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import Store, client, only_trouble, troubles
from tests.sessions_kms.support.commands import end

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
ITEM = "not-before#django"


def put(store: Store, item_id: str = ITEM, **attributes: int) -> None:
    numbers = {name: {"N": str(value)} for name, value in attributes.items()}
    client("dynamodb").put_item(TableName=store.table, Item={"id": {"S": item_id}} | numbers)


def test_far_future_cutoff_fails_until_sessions_are_ended_again(store: Store) -> None:
    put(store, version=1, notBefore=int(time.time()) + 86_400)
    found = only_trouble("not-before")
    assert found.level == "failing"
    assert "end_sessions --all" in found.remedy
    assert end("--all").status == 0
    assert troubles() == {}


def test_moment_of_a_provider_far_ahead_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(not_before, "_sources", [lambda: ["corp"]])
    put(store, f"{ITEM}#corp", version=1, notBefore=int(time.time()) + 86_400)
    found = troubles()
    assert "of corp" in found["not-before"].detail
    assert "--provider corp" in found["not-before"].remedy
    assert end("--provider", "corp", "--before", str(int(time.time()) - 5)).status == 0
    assert troubles() == {}


def test_moment_a_little_ahead_is_a_warning(store: Store) -> None:
    put(store, version=1, notBefore=int(time.time()) + 290)
    found = only_trouble("not-before")
    assert found.level == "warning"


def test_moment_that_cannot_be_read_is_failing(store: Store) -> None:
    put(store, version=2, notBefore=1)
    found = troubles()
    assert found["not-before"].level == "failing"
    assert "Delete it" in found["not-before"].remedy
