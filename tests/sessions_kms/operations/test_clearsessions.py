"""`clearsessions`: nothing where TTL is on, a bounded sweep where it is not, Django's elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import boto3
import pytest
from botocore.exceptions import ClientError
from django.contrib.sessions.backends.cache import SessionStore as Cached
from django.contrib.sessions.backends.file import SessionStore as Files
from django.core.management import get_commands
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.sealed_items.leases import Leases
from tests.sessions_kms.support.commands import Run, run
from tests.sessions_kms.support.memory_dynamodb import after
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack, install
from tests.sessions_kms.support.stepping import as_coroutine

WEEK = 7 * 86_400


@pytest.fixture
def stack(stack: Stack) -> Stack:
    if stack.kind != "fake":
        ttl(stack, enabled=True)
    return stack


def ttl(stack: Stack, *, enabled: bool) -> None:
    client = boto3.client("dynamodb", region_name=stack.config.region_name)
    client.update_time_to_live(
        TableName=stack.config.table_name,
        TimeToLiveSpecification={"Enabled": enabled, "AttributeName": "ttl"},
    )


def disable_ttl(stack: Stack) -> None:
    if stack.kind == "fake":
        stack.dynamodb.ttl = None
        return
    ttl(stack, enabled=False)


def clear(*arguments: str) -> Run:
    return run("clearsessions", *arguments)


@pytest.mark.parametrize("arguments", [[], ["--force"]])
def test_where_ttl_is_on_nothing_is_done(stack: Stack, arguments: list[str]) -> None:
    save_session()
    stack.clock.advance(2 * WEEK)
    done = clear(*arguments)
    assert (done.status, "Nothing to do" in done.out) == (0, True)
    assert len(stack.sessions()) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 3, "create_session_store"),
        (["--dry-run"], 3, "create_session_store"),
        (["--dry-run", "--force"], 0, "Would scan the whole table"),
    ],
)
def test_disabled_ttl_is_reported_and_nothing_is_deleted(
    stack: Stack, arguments: list[str], status: int, says: str
) -> None:
    disable_ttl(stack)
    save_session()
    stack.clock.advance(2 * WEEK)
    done = clear(*arguments)
    assert (done.status, says in done.out) == (status, True)
    assert len(stack.sessions()) == 1


def test_missing_right_to_read_the_ttl_setting_is_reported(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeTimeToLive")
    monkeypatch.setattr(
        fake.services.queries, "ttl_attribute", as_coroutine(lambda: refuse(denied))
    )
    done = clear()
    assert (done.status, "this role may not read it" in done.out) == (3, True)
    assert clear("--force").status == 0


def refuse(cause: Exception) -> NoReturn:
    raise TableUnavailable from cause


@pytest.mark.parametrize("arguments", [[], ["--force"], ["--dry-run"]])
def test_outage_is_not_reported_as_a_disabled_ttl(fake: Stack, arguments: list[str]) -> None:
    fake.dynamodb.unavailable = True
    done = clear(*arguments)
    assert (done.status, done.out) == (1, "")
    assert "The session table cannot be used at the moment." in done.err


def test_force_deletes_only_expired_items_of_every_kind(stack: Stack) -> None:
    disable_ttl(stack)
    save_session(), save_session()
    run_sync(Leases(services.services()).claim("a" * 32, "holder", seconds=10))
    stack.put_item({"id": {"S": "not-before#django"}, "version": {"N": "1"},
                    "notBefore": {"N": "5"}, "ttl": {"N": "5"}})  # fmt: skip
    stack.put_item({"id": {"S": "of-somebody-else"}, "ttl": {"N": "5"}})
    stack.clock.advance(2 * WEEK)
    live = save_session()
    done = clear("--force", "--json")
    # Two sessions, the lease, and the data key of two weeks ago.
    assert done.json == {"ttl": False, "deleted": 4, "more": False}
    assert SessionStore().exists(live.session_key or "")
    kinds = {name.partition("#")[0] for name in stack.items() if "#" in name}
    assert kinds == {"data-key", "not-before"}
    assert "of-somebody-else" in stack.items()


def test_clocks_that_differ_a_little_end_no_session(fake: Stack) -> None:
    disable_ttl(fake)
    save_session()
    item = next(iter(fake.sessions().values()))
    fake.clock.now = int(item["ttl"]["N"]) + 299
    clear("--force")
    assert len(fake.sessions()) == 1
    fake.clock.advance(1)
    clear("--force")
    assert fake.sessions() == {}


def test_session_that_was_renewed_meanwhile_is_not_deleted(fake: Stack) -> None:
    disable_ttl(fake)
    save_session()
    fake.clock.advance(2 * WEEK)

    def renew() -> None:
        for item in fake.items().values():
            fake.put_item(item | {"ttl": {"N": str(int(fake.clock()) + WEEK)}})

    for kind in ("session", "data-key"):
        fake.dynamodb.on(f"DeleteItem {kind}", after(renew))
    assert clear("--force", "--json").json["deleted"] == 0
    assert len(fake.sessions()) == 1


def test_number_deleted_is_bounded_and_the_next_run_continues(fake: Stack) -> None:
    disable_ttl(fake)
    for _ in range(5):
        save_session()
    fake.clock.advance(2 * WEEK)
    done = [clear("--force", "--json", "--max-items", "4") for _ in range(2)]
    assert [each.json["deleted"] for each in done] == [4, 2]  # The sessions and their data key.
    assert [each.status for each in done] == [3, 0]


def test_bound_must_be_a_number_of_items(fake: Stack) -> None:
    disable_ttl(fake)
    assert clear("--force", "--max-items", "0").status == 2


def test_needs_no_kms(fake: Stack) -> None:
    disable_ttl(fake)
    save_session()
    fake.clock.advance(2 * WEEK)
    none: Any = None
    install(replace(services.services(), keyring=none))
    assert clear("--force").status == 0
    assert fake.sessions() == {}


@pytest.fixture
def files(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of another engine, with an expired session and a live one."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    monkeypatch.setattr(Files, "_storage_path", str(tmp_path), raising=False)
    for seconds in (-10, 10):
        session = Files()
        session["a"] = 1
        session.set_expiry(seconds)
        session.save()
    assert len(list(tmp_path.iterdir())) == 2
    return tmp_path


def test_another_engine_is_cleared_as_django_does(files: Path) -> None:
    done = clear()
    assert (done.status, done.out, len(list(files.iterdir()))) == (0, "", 1)


def test_dry_run_of_another_engine_clears_nothing(files: Path) -> None:
    done = clear("--dry-run")
    assert (
        done.status,
        "Would clear expired sessions of" in done.out,
        len(list(files.iterdir())),
    ) == (0, True, 2)


def test_another_engine_is_cleared_with_one_object_of_json(files: Path) -> None:
    assert clear("--json").json == {"engine": "django.contrib.sessions.backends.file"}
    assert len(list(files.iterdir())) == 1


def test_engine_that_cannot_clear_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: Any) -> None:
        raise NotImplementedError

    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    monkeypatch.setattr(Cached, "clear_expired", cannot)
    done = clear()
    assert (done.status, "doesn't support clearing" in done.err) == (1, True)


def test_it_replaces_djangos_command_if_installed_before_it() -> None:
    assert get_commands()["clearsessions"] == "sessions_kms"
