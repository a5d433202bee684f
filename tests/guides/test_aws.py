"""The AWS CLI of the guides, against a DynamoDB on this machine."""

import json
from pathlib import Path

import pytest

from tests.guides import aws
from tests.sessions_kms.support.deployed import printed_yaml
from tests.support.local_kms import running_kms

TABLE = ("--table-name", "sessions")


@pytest.fixture(autouse=True)
def dynamodb(roto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", roto_url)


def test_options_are_those_of_the_cli(capsys: pytest.CaptureFixture[str]) -> None:
    def call(operation: str, *arguments: str) -> str:
        assert aws.main("dynamodb", operation, *arguments) == 0
        return capsys.readouterr().out

    call(
        "create-table", *TABLE, "--billing-mode", "PAY_PER_REQUEST",
        "--attribute-definitions", "AttributeName=id,AttributeType=S",
        "--key-schema", "AttributeName=id,KeyType=HASH",
        "--deletion-protection-enabled",
    )  # fmt: skip
    call(
        "update-continuous-backups", *TABLE,
        "--point-in-time-recovery-specification", "PointInTimeRecoveryEnabled=true",
    )  # fmt: skip
    call("put-item", *TABLE, "--item", '{"id": {"S": "a"}}')
    found = call("scan", *TABLE, "--query", "Items[].id.S", "--output", "text")
    assert found == "a\n"
    restored = ("--target-table-name", "restored", "--source-table-name", "sessions")
    call("restore-table-to-point-in-time", *restored, "--use-latest-restorable-time")
    call("wait", "table-exists", "--table-name", "restored")
    table = json.loads(call("describe-table", "--table-name", "restored"))["Table"]
    assert table["DeletionProtectionEnabled"] is False
    for name in ("sessions", "restored"):
        call("update-table", "--table-name", name, "--no-deletion-protection-enabled")
        call("delete-table", "--table-name", name)


def test_error_of_aws_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert aws.main("dynamodb", "describe-table", "--table-name", "missing") == 254
    assert "ResourceNotFoundException" in capsys.readouterr().err


@pytest.mark.slow
def test_stack_is_created_from_its_template(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = tmp_path / "sessions.yaml"
    template.write_text(printed_yaml("--table", "sessions-of-a-stack"))
    monkeypatch.setenv("AWS_STAND_IN", str(tmp_path))
    named = ("--stack-name", "sessions")
    file = ("--template-file", str(template), "--capabilities", "CAPABILITY_NAMED_IAM")
    with running_kms() as kms:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url)
        aws.main("cloudformation", "deploy", *named, *file)
    query = ("--query", "Stacks[0].Outputs[].[OutputKey,OutputValue]", "--output", "text")
    capsys.readouterr()
    aws.main("cloudformation", "describe-stacks", *named, *query)
    outputs = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert outputs["TableName"] == "sessions-of-a-stack"
    assert outputs["KeyArn"].startswith("arn:aws:kms:")
    assert outputs["WebRoleArn"].endswith(":role/sessions-of-a-stack-web")
    described = ("--table-name", outputs["TableName"], "--query", "Table.TableStatus")
    assert aws.main("dynamodb", "describe-table", *described) == 0
