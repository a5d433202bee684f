"""An admin whose store cannot be used, or that is not there at all."""

import io
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

from sessions_kms import outages
from sessions_kms.aws.clock import ServerClock
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable, TableUnavailable
from sessions_kms.outages import Outage
from sessions_kms.services import build
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack, install
from tests.sessions_kms.support.staff import Staff, record_id, sign_in_staff
from tests.sessions_kms.support.stepping import as_coroutine, run_blocking
from tests.support.processes import run_to_end

CONFIRM = {"post": "yes"}
BEFORE = {"before_0": "2027-01-15", "before_1": "08:00"}


def fail(*args: Any, **kwargs: Any) -> Any:
    raise TableUnavailable from RuntimeError("canary: what AWS said")


@pytest.fixture
def root(fake: Stack, db: None) -> Staff:
    return Staff("root", superuser=True)


def assert_outage(page: str) -> None:
    assert 'class="errornote"' in page
    assert "The session table cannot be used at the moment." in page
    assert "Gateway administration" in page
    assert "canary" not in page


@pytest.mark.parametrize(
    ("call", "path"),
    [("Scan", ""), ("Query user", "?user=7")],
)
def test_unreadable_list_shows_an_error(root: Staff, fake: Stack, call: str, path: str) -> None:
    fake.dynamodb.on(call, refuse_write)
    assert_outage(root.get(path, status=503))


def test_reason_is_in_the_log_once(
    root: Staff, fake: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fake.services.queries, "scan", as_coroutine(fail))
    known = {StoreUnavailable: Outage(logging.getLogger("tests.outage"), "store", "The store")}
    monkeypatch.setattr(outages, "OUTAGES", known)
    caplog.set_level(logging.ERROR, logger="sessions_kms.refused")  # the gateway silences it
    root.get("", status=503)
    assert [record.name for record in caplog.records] == ["tests.outage", "sessions_kms.refused"]
    assert "canary" in caplog.records[0].getMessage()


def test_session_that_cannot_be_attributed_is_shown_as_an_outage(
    root: Staff, fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    anonymous = record_id(sign_in_staff(""))

    def refuse(encrypted: bytes, period: int) -> Any:
        raise KMSUnavailable

    keyring = fake.services.keyring
    unwrap = keyring.unwrap
    fake.clock.advance(86400)  # The reader's own session has another data key.
    root = Staff("other", superuser=True)
    period = int(fake.items()[anonymous]["keyPeriod"]["N"])
    monkeypatch.setattr(
        keyring,
        "unwrap",
        lambda encrypted, of: (refuse if of == period else unwrap)(encrypted, of),
    )
    assert "not known" in root.get()
    for path in (f"{quote(anonymous)}/change/", f"{quote(anonymous)}/delete/", f"?q={anonymous}"):
        assert "AWS KMS cannot be used at the moment." in root.get(path, status=503)
    root.post(f"{quote(anonymous)}/delete/", status=503)
    assert anonymous in fake.items()
    assert LogEntry.objects.count() == 0


def test_failed_end_is_shown_and_logged(
    root: Staff, fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [sign_in_staff("7") for _ in range(3)]
    end = run_blocking(fake.services.session_items.end)
    deleted: list[str] = []

    def end_one(item_id: str, **expected: Any) -> bool:
        if deleted:
            fail()
        deleted.append(item_id)
        return end(item_id, **expected)

    monkeypatch.setattr(fake.services.session_items, "end", as_coroutine(end_one))
    chosen = [record_id(each) for each in sessions]
    form = {"action": "delete_selected", "_selected_action": chosen} | CONFIRM
    assert_outage(root.post("", form, status=503))
    assert [entry.object_repr for entry in LogEntry.objects.all()] == [deleted[0][:8]]


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("DeleteItem session", "{id}/delete/"),
        ("Query user", "end-of-user/?user=7"),
        ("PutItem not-before", "end-before/"),
    ],
)
def test_store_that_fails_on_the_way_is_shown(
    root: Staff, fake: Stack, call: str, path: str
) -> None:
    session = sign_in_staff("7")
    fake.dynamodb.on(call, refuse_write)
    assert_outage(
        root.post(path.format(id=quote(record_id(session))), BEFORE | CONFIRM, status=503)
    )


def test_whole_table_that_cannot_be_used_keeps_the_readers_cookie(root: Staff, fake: Stack) -> None:
    fake.dynamodb.unavailable = True
    page = root.get("", status=503)
    assert "If you were signed in, you still are" in page
    fake.dynamodb.unavailable = False
    root.get()


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
def test_time_that_only_this_clock_calls_past_is_refused(stack: Stack, db: None) -> None:
    real = time.time
    stack.clock.now = real() + 200
    install(build(stack.config, clock=ServerClock(stack.clock)))
    root = Staff("root", superuser=True)
    for ahead, is_refused in [(-10, False), (190, True)]:
        now = datetime.fromtimestamp(real() + ahead, UTC)
        form = {"before_0": f"{now:%Y-%m-%d}", "before_1": f"{now:%H:%M:%S}"}
        page = root.post("end-before/", form)
        assert ("Enter a time in the past" in page) is is_refused
        assert ("This cannot be undone." in page) is not is_refused
        if is_refused:
            root.post("end-before/", form | CONFIRM)
            assert run_sync(stack.services.not_before_items.get()) == 0


@pytest.mark.parametrize("options", [[], ["--all"]])
def test_data_of_the_project_is_dumped_where_the_model_has_no_table(
    root: Staff, options: list[str]
) -> None:
    dumped = io.StringIO()
    call_command("dumpdata", *options, stdout=dumped)
    models = {each["model"] for each in json.loads(dumped.getvalue())}
    assert "auth.user" in models
    assert "sessions_kms.session" not in models


def test_model_object_urls_do_not_exist(root: Staff) -> None:
    kind = ContentType.objects.get(app_label="sessions_kms", model="session")
    assert root.client.get(f"/admin/r/{kind.pk}/{'x' * 43}/").status_code == 404


@pytest.mark.slow
def test_engine_needs_neither_the_app_nor_the_admin() -> None:
    code = """
import sys
from django.conf import settings
settings.configure(SESSION_ENGINE="sessions_kms.backend", INSTALLED_APPS=["sessions_kms"])
import django
django.setup()
from sessions_kms import backend, models
unwanted = ("django.contrib.admin", "sessions_kms.admin")
print([name for name in sys.modules if name.startswith(unwanted)])
"""
    without_app = code.replace('["sessions_kms"]', "[]").replace("backend, models", "backend")
    for each in (code, without_app):
        done = run_to_end([sys.executable, "-W", "error", "-c", each], {"PATH": ""}, is_fresh=True)
        assert done.stdout.strip() == "[]", done.stderr
