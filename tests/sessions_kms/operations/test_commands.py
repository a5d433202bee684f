"""`create_session_store` as an operator runs it, on moto and on real servers."""

import io
import json
import uuid
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from sessions_kms.aws import clients
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.checked_store import client
from tests.sessions_kms.support.stacks import FAKE_KEY, on_aws

pytestmark = on_aws
REGION = "eu-west-1"
NO_LISTENER = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clients of the commands are boto's defaults, which try again for seconds.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture
def names() -> tuple[str, str]:
    unique = uuid.uuid4().hex[:12]
    return f"sessions-{unique}", f"alias/test-{unique}"


def run(*command: str) -> str:
    out = io.StringIO()
    call_command(*command, stdout=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def bare(make_stack: MakeStack, settings: Settings) -> None:
    """AWS with nothing in it, and settings that name nothing yet."""
    settings.SESSIONS_KMS = {"REGION_NAME": REGION}


@pytest.mark.usefixtures("bare")
def test_create_prints_each_step_and_what_to_set(names: tuple[str, str]) -> None:
    table, alias = names
    lines = run(
        "create_session_store", "--table", table, "--create-key", "--alias", alias
    ).splitlines()
    arn = client("kms").describe_key(KeyId=alias)["KeyMetadata"]["Arn"]
    assert lines == [
        f"created key {arn} as {alias}",
        "enabled rotation of the key every year",
        f"created table {table} with deletion protection",
        "enabled TTL on ttl",
        "enabled point-in-time recovery",
        f"TABLE_NAME: {table}",
        f"KEY_ID: {arn}",
    ]


@pytest.mark.usefixtures("bare")
def test_create_again_does_nothing_and_prints_the_same_to_set(names: tuple[str, str]) -> None:
    command = ["create_session_store", "--table", names[0], "--create-key", "--alias", names[1]]
    first = run(*command).splitlines()
    assert run(*command).splitlines() == ["nothing to do: table and key already exist", *first[-2:]]


@pytest.mark.usefixtures("bare")
def test_create_as_json_is_one_object(names: tuple[str, str]) -> None:
    table, alias = names
    command = ["create_session_store", "--json", "--table", table]
    assert json.loads(run(*command)) == {
        "table": table,
        "done": [
            f"created table {table} with deletion protection",
            "enabled TTL on ttl",
            "enabled point-in-time recovery",
        ],
        "dry_run": False,
    }
    again = json.loads(run(*command, "--create-key", "--alias", alias))
    assert again["key_arn"].startswith(f"arn:aws:kms:{REGION}:")
    assert len(again["done"]) == 2
    last = json.loads(run(*command, "--create-key", "--alias", alias))
    assert last == again | {"done": []}


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("more", "is_said"), [((), False), (("--json",), True)])
def test_with_verbosity_0_a_command_only_prints_the_object_that_was_asked_for(
    names: tuple[str, str], more: tuple[str, ...], is_said: bool
) -> None:
    command = ["create_session_store", "--table", names[0], "--verbosity", "0", *more]
    assert run(*command, "--dry-run") != ""
    assert (run(*command) != "") is is_said
    assert client("dynamodb").describe_table(TableName=names[0])


@pytest.mark.usefixtures("bare")
def test_dry_run_reports_each_step_and_takes_none(names: tuple[str, str]) -> None:
    table, alias = names
    command = ["create_session_store", "--table", table, "--create-key", "--alias", alias]
    told = run(*command, "--dry-run").splitlines()
    assert table not in client("dynamodb").list_tables()["TableNames"]
    kms = client("kms")
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=alias)
    done = run(*command).splitlines()
    steps = [line for line in told if line.startswith("[dry run] ")]
    assert len(steps) == len(done) - 2
    assert [line.split()[2] for line in steps] == [line.split()[0] for line in done[:-2]]
    assert (
        run(*command, "--dry-run").splitlines()[0] == "nothing to do: table and key already exist"
    )


@pytest.mark.usefixtures("bare")
def test_dry_run_of_a_table_that_lacks_something_changes_nothing(names: tuple[str, str]) -> None:
    table, _ = names
    run("create_session_store", "--table", table)
    database = client("dynamodb")
    database.update_table(TableName=table, DeletionProtectionEnabled=False)
    for _ in range(2):
        told = run("create_session_store", "--table", table, "--dry-run").splitlines()
        assert told[0] == "[dry run] enabled deletion protection"
    described = database.describe_table(TableName=table)["Table"]
    assert not described.get("DeletionProtectionEnabled")


def test_create_takes_table_and_region_from_the_settings(
    bare: None, settings: Settings, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings.SESSIONS_KMS = {"TABLE_NAME": names[0], "REGION_NAME": REGION}
    run("create_session_store")
    arn = client("dynamodb").describe_table(TableName=names[0])["Table"]["TableArn"]
    assert f":{REGION}:" in arn


@pytest.mark.usefixtures("bare")
def test_create_in_another_region_by_option(names: tuple[str, str]) -> None:
    printed = run(
        *["create_session_store", "--table", names[0], "--region", "eu-central-1"],
        *["--create-key", "--alias", names[1]],
    )
    assert "KEY_ID: arn:aws:kms:eu-central-1:" in printed


@pytest.mark.usefixtures("make_stack")
@pytest.mark.parametrize("raw", [None, {}, "sessions", {"TABLE_NAME": ""}])
def test_create_without_a_table_name_says_where_to_give_it(settings: Settings, raw: Any) -> None:
    settings.SESSIONS_KMS = raw
    with pytest.raises(CommandError, match="--table NAME, or set TABLE_NAME in SESSIONS_KMS"):
        run("create_session_store")


@pytest.mark.usefixtures("bare")
def test_create_in_an_unknown_region_is_reported(names: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=r"AWS call failed: .*'Middle Earth' doesn't match"):
        run("create_session_store", "--table", names[0], "--region", "Middle Earth")


@pytest.mark.usefixtures("bare")
def test_create_on_a_foreign_table_is_refused_with_advice(names: tuple[str, str]) -> None:
    client("dynamodb").create_table(
        TableName=names[0],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(CommandError, match=r"another key schema.*Choose another name"):
        run("create_session_store", "--table", names[0])


def test_create_reports_what_was_done_before_it_failed(
    bare: None, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clients.control_client

    def without_table(service: str, region: str | None = None) -> Any:
        if service == "dynamodb":
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", NO_LISTENER)
        return made(service, region)

    monkeypatch.setattr(clients, "control_client", without_table)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"AWS call failed: .*endpoint"):
        call_command(
            *["create_session_store", "--table", names[0], "--create-key", "--alias", names[1]],
            stdout=out,
        )
    assert out.getvalue().startswith("created key arn:aws:kms:")


@pytest.mark.usefixtures("bare")
def test_faulty_aws_environment_is_reported_with_botos_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONS_KMS = {"KEY_ID": FAKE_KEY, "TABLE_NAME": "sessions"}
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(CommandError, match="You must specify a region"):
        run("end_sessions", "--all", "--no-input")
