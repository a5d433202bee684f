"""The AWS CLI of the guides, against a DynamoDB on this machine."""

from __future__ import annotations

import json

import pytest

from tests.guides import aws

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
