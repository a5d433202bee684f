"""Findings about a sample of the items: foreign, overdue, large or lost ones."""

import time
from typing import Any

import pytest

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.services import id_of
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import Store, apply, check, client, new_key, troubles
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import on_aws

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store


def change(store: Store, session: SessionStore, **attributes: Any) -> None:
    key = {"id": {"S": id_of(session.session_key or "")}}
    item = client("dynamodb").get_item(TableName=store.table, Key=key)["Item"]
    client("dynamodb").put_item(TableName=store.table, Item=item | attributes)


@on_aws
def test_good_sample_is_described(store: Store) -> None:
    save_session(_auth_user_id="7")
    save_session(cart=[1])
    _, report = check()
    told = {each["name"]: each["detail"] for each in report["checks"]}
    assert told["sample format"] == "2 sessions, all of version 1"
    assert told["sample data keys"] == "1 tried, all unwrap"
    assert troubles() == {}


@on_aws
def test_grant_older_than_any_session_counts_as_live(store: Store) -> None:
    store.configure(ABSOLUTE_TIMEOUT=86_400, GRANT_TIMEOUT=30 * 86_400)
    services.reset()
    old = {"N": str(int(time.time()) - 3 * 86_400)}
    change(store, save_session(_auth_user_id="7"), createdAt=old, updatedAt=old)
    _, report = check("--no-canary")
    told = {each["name"]: each["detail"] for each in report["checks"]}
    assert told["sample data keys"] == "1 tried, all unwrap"


@on_aws
def test_unknown_version_is_found(store: Store) -> None:
    session = save_session(cart=[1])
    save_session(cart=[2])
    change(store, session, version={"N": "2"}, tags={"SS": ["unknown", "type"]})
    found = checked_store.only_trouble("sample format")
    assert found.level == "warning"
    assert found.detail == "1 of 2 sessions are not of version 1"
    assert "newer release" in found.remedy
    session.delete()
    assert troubles() == {}


@on_aws
def test_sessions_that_ttl_should_have_deleted_are_found(store: Store) -> None:
    overdue, late = save_session(cart=[1]), save_session(cart=[2])
    now = int(time.time())
    change(store, overdue, ttl={"N": str(now - 49 * 3600)})
    change(store, late, ttl={"N": str(now - 47 * 3600)})
    found = checked_store.only_trouble("sample expired")
    assert found.level == "warning"
    assert found.detail == "1 of 2 sessions ended more than 48 hours ago"
    assert "TimeToLiveDeletedItemCount" in found.remedy
    overdue.delete()
    assert troubles() == {}


@on_aws
def test_sessions_that_ended_while_ttl_was_off_are_deleted_by_the_remedy(store: Store) -> None:
    overdue = save_session(cart=[1])
    kept = save_session(cart=[2])
    off = {"Enabled": False, "AttributeName": "ttl"}
    client("dynamodb").update_time_to_live(TableName=store.table, TimeToLiveSpecification=off)
    change(store, overdue, ttl={"N": str(int(time.time()) - 49 * 3600)})
    found = troubles()
    assert list(found) == ["table TTL", "sample expired"]
    apply(found["sample expired"].remedy)
    assert store.sessions() == [id_of(kept.session_key or "")]
    apply(found["table TTL"].remedy)
    assert troubles() == {}


@on_aws
def test_session_near_the_limit_of_an_item_is_found(store: Store) -> None:
    session = save_session(cart="x" * 310 * 1024)
    found = checked_store.only_trouble("sample size")
    assert found.level == "warning"
    assert found.detail.startswith("the largest has 317,")
    session["cart"] = []
    session.save()
    assert troubles() == {}


@on_aws
def test_large_item_of_another_kind_is_not_looked_at(store: Store) -> None:
    item = {"id": {"S": "another#kind"}, "map": {"M": {"blob": {"B": b"x" * 320_000}}}}
    client("dynamodb").put_item(TableName=store.table, Item=item)
    assert troubles() == {}


@pytest.mark.slow
@servers  # moto returns AccessDenied for a blob of another key, unlike KMS
@pytest.mark.parametrize("owner", ["7", None])
def test_sessions_of_a_kms_key_that_was_left_out_are_found(store: Store, owner: str | None) -> None:
    save_session(**({"_auth_user_id": owner} if owner else {"cart": [1]}))
    previous, store.key = store.key, new_key()
    store.configure()
    services.reset()
    found = troubles()
    # Whose an anonymous session is, where projects share a table, only its key could tell.
    assert list(found) == ["data key", "sample data keys"] if owner else ["data key"]
    if owner:
        assert found["sample data keys"].level == "failing"
        assert "1 of 1 cannot be unwrapped" in found["sample data keys"].detail
        assert "DECRYPT_KEY_IDS" in found["sample data keys"].remedy
    store.configure(DECRYPT_KEY_IDS=[previous])
    services.reset()
    assert list(troubles()) == ["data key"]  # Wrapped by the previous key: to be re-wrapped.


@servers
def test_ended_sessions_of_a_lost_kms_key_are_no_loss_though_they_are_still_stored(
    store: Store,
) -> None:
    save_session(_auth_user_id="7")
    store.key = new_key()
    store.configure()
    services.reset()
    assert "sample data keys" in troubles()
    assert end("--all", "--no-delete").status == 0  # As the runbook of a lost key says.
    assert len(store.sessions()) == 1
    assert "sample data keys" not in troubles()


@on_aws
def test_sample_is_limited_to_one_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_kms.doctor.stored_items.ITEMS", 3)
    for number in range(5):
        save_session(cart=[number])
    _, report = check("--no-canary")
    told = {each["name"]: each["detail"] for each in report["checks"]}
    assert int(told["sample format"].split()[0]) <= 3
