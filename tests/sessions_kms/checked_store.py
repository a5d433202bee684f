"""A real store that is good until a test breaks it, and `check_session_store` run on it."""

import io
import json
import uuid
from dataclasses import dataclass
from typing import Any

import boto3
from django.core.management import call_command
from pytest_django import Settings

from sessions_kms import provisioning

REGION = "eu-west-1"


@dataclass
class Store:
    """A store that is good until a test breaks it, and the settings that name it."""

    table: str
    key: str
    settings: Settings

    def configure(self, **changes: Any) -> None:
        named = {"KEY_ID": self.key, "TABLE_NAME": self.table, "REGION_NAME": REGION}
        self.settings.SESSIONS_KMS = named | changes

    def new_table(self, **options: Any) -> None:
        """Point to another table, made as somebody else might have."""
        self.table += "-other"
        client("dynamodb").create_table(
            TableName=self.table, BillingMode="PAY_PER_REQUEST", **options
        )
        self.configure()

    def sessions(self) -> list[str]:
        items = client("dynamodb").scan(TableName=self.table)["Items"]
        return [item["id"]["S"] for item in items if "#" not in item["id"]["S"]]


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]  # a name at a time


def check() -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the check; give its exit status, and its findings by name."""
    out = io.StringIO()
    status = 0
    try:
        call_command("check_session_store", "--json", stdout=out)
    except SystemExit as exc:
        status = int(exc.code or 0)
    report = json.loads(out.getvalue())
    assert set(report) == {"ok", "checks"}
    for finding in report["checks"]:
        assert set(finding) == {"name", "ok", "detail", "remedy"}
        assert bool(finding["remedy"]) == (not finding["ok"])
        assert finding["detail"]
    assert report["ok"] == (status == 0) == all(each["ok"] for each in report["checks"])
    return status, {each["name"]: each for each in report["checks"]}


def failed() -> dict[str, str]:
    """Run the check; give the details of what it found wrong."""
    status, findings = check()
    assert status == 1
    return {name: each["detail"] for name, each in findings.items() if not each["ok"]}


def new_store(settings: Settings) -> Store:
    """Create table and key as the command does, and point the settings to them."""
    unique = uuid.uuid4().hex[:12]
    list(provisioning.create_table(client("dynamodb"), f"sessions-{unique}"))
    key, _ = provisioning.create_key(client("kms"), f"alias/test-{unique}")
    made = Store(f"sessions-{unique}", key, settings)
    made.configure()
    return made
