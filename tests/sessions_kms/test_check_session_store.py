"""`check_session_store`: green on a good store, and it leaves nothing and tells nothing."""

import io
import logging
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from sessions_kms import aws
from sessions_kms.backend import SessionStore
from tests.sessions_kms.checked_store import Store, check, client, failed, new_store
from tests.sessions_kms.conftest import MakeStack

pytestmark = pytest.mark.parametrize("make_stack", ["moto", "servers"], indirect=True)
CHECKS = [
    "table active",
    "table key schema",
    "table index",
    "table TTL",
    "kms key enabled",
    "kms key symmetric",
    "kms key customer-managed",
    "canary written",
    "canary read back",
    "canary is ciphertext",
    "canary tampered with is refused",
    "canary deleted",
]


@pytest.fixture
def store(make_stack: MakeStack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Store:
    # The command's clients are boto's defaults, which try again for seconds.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return new_store(settings)


def test_good_store_is_all_green_and_nothing_is_left_in_it(store: Store) -> None:
    status, findings = check()
    assert status == 0
    assert list(findings) == CHECKS
    assert store.sessions() == []


def test_text_is_a_line_for_each_check(store: Store) -> None:
    out = io.StringIO()
    call_command("check_session_store", stdout=out, no_color=True)
    lines = out.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"ok   {name}" for name in CHECKS]


def test_text_of_a_fault_has_its_remedy(store: Store) -> None:
    store.configure(TABLE_NAME="no-such-table")
    out = io.StringIO()
    with pytest.raises(SystemExit) as exited:
        call_command("check_session_store", stdout=out, no_color=True)
    assert exited.value.code == 1
    lines = out.getvalue().splitlines()
    assert lines[:2] == [
        "FAIL table: no-such-table does not exist",
        "     Run manage.py create_session_store.",
    ]
    assert "ok   kms key enabled: Enabled" in lines


@pytest.mark.parametrize("raw", [None, {}, {"TABLE": "sessions"}])
def test_wrong_settings_are_the_finding(store: Store, raw: Any) -> None:
    store.settings.SESSIONS_KMS = raw
    (detail,) = failed().values()
    assert "KEY_ID" in detail


def test_not_before_in_the_future_is_found_and_named(store: Store) -> None:
    store.configure(NOT_BEFORE="2200-01-01T00:00:00Z")
    status, findings = check()
    assert status == 1
    assert "NOT_BEFORE" in findings["canary read back"]["remedy"]
    assert store.sessions() == []


def test_canary_is_deleted_even_when_a_check_breaks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = aws.control_client

    def without_put(service: str, region: str | None = None) -> Any:
        found = made(service, region)
        monkeypatch.setattr(found, "put_item", broken, raising=False)
        return found

    def broken(**_: Any) -> None:
        raise PermissionError("no put for you")

    monkeypatch.setattr(aws, "control_client", without_put)
    assert failed() == {"canary": "PermissionError: no put for you"}
    assert store.sessions() == []


def test_canary_that_cannot_be_deleted_ends_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_self: SessionStore, _key: str | None = None) -> None:
        raise PermissionError("no delete for you")

    monkeypatch.setattr(SessionStore, "delete", denied)
    assert failed() == {"canary": "PermissionError: no delete for you"}
    (item,) = [
        item
        for item in client("dynamodb").scan(TableName=store.table)["Items"]
        if "#" not in item["id"]["S"]
    ]
    assert int(item["ttl"]["N"]) - int(item["createdAt"]["N"]) == 300


def test_neither_output_nor_log_holds_the_canary_or_its_key(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secrets: list[str] = []
    create = SessionStore.create

    def recording(session: SessionStore) -> None:
        create(session)
        secrets.extend([session.session_key or "", session["canary"]])

    monkeypatch.setattr(SessionStore, "create", recording)
    out = io.StringIO()
    with caplog.at_level(logging.DEBUG, logger="sessions_kms"):
        call_command("check_session_store", stdout=out)
    assert len(secrets) == 2
    for secret in secrets:
        assert secret not in out.getvalue()
        assert secret not in caplog.text
