"""A correct store that tests break, `check_session_store` on it, and its remedies.

A test module imports a fixture with ``store = checked_store.store``.
"""

import io
import json
import os
import re
import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.operations import provisioning
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.commands import run
from tests.sessions_kms.support.faults import FaultProxy, running_proxy
from tests.sessions_kms.support.stacks import URL, kept_client

REGION = "eu-west-1"
# The stand-ins evaluate neither conditions of a policy nor IAM: they allow what AWS would deny.
# tests/sessions_kms/doctor/test_rights.py tests these findings with the printed policies.
NOT_HERE = {"over-grant context", "over-grant key"}
client = kept_client


def expect_denial(name: str, action: str) -> None:
    """Expect one finding, which says that AWS denies an action, and how to allow it."""
    found = only_trouble(name)
    assert found.level == "warning"
    assert found.detail == f"cannot be checked: AWS denies {action}"
    assert f"grant {action}" in found.remedy


@dataclass
class Store:
    """A correct store that tests can break, and the settings for it."""

    table: str
    key: str
    settings: Settings

    @property
    def key_id(self) -> str:
        return self.key.rpartition("/")[2]

    def configure(self, **changes: Any) -> None:
        named = {"KEY_ID": self.key, "TABLE_NAME": self.table, "REGION_NAME": REGION}
        # Servers are asked by the client that production has; boto takes three times the CPU.
        chosen = {"CLIENT": "builtin"} if f"{URL}_DYNAMODB" in os.environ else {}
        self.settings.SESSIONS_KMS = named | chosen | changes

    def new_table(self, **options: Any) -> None:
        """Use another table, created with other options."""
        self.table += "-other"
        billing = {"BillingMode": "PAY_PER_REQUEST"}
        client("dynamodb").create_table(TableName=self.table, **(billing | options))
        self.configure()

    def items(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client("dynamodb").scan(TableName=self.table)["Items"]
        return found

    def sessions(self) -> list[str]:
        return [item["id"]["S"] for item in self.items() if "#" not in item["id"]["S"]]


@pytest.fixture
def store(make_stack: MakeStack, settings: Settings) -> Store:
    return new_store(settings)


def new_store(settings: Settings) -> Store:
    """Create table and key with the command, and set them in the settings."""
    settings.SESSION_COOKIE_SECURE = True  # It is off in the settings of the tests.
    unique = uuid.uuid4().hex[:12]
    list(provisioning.create_table(client("dynamodb"), f"sessions-{unique}"))
    key = new_key()
    made = Store(f"sessions-{unique}", key, settings)
    made.configure()
    return made


def without_rotation() -> str:
    """Create a key that is not rotated."""
    return str(client("kms").create_key()["KeyMetadata"]["Arn"])


def new_key() -> str:
    key, _ = provisioning.create_key(client("kms"), f"alias/test-{uuid.uuid4().hex[:12]}")
    return key


@contextmanager
def proxied(service: str, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Run a proxy between the checks and a service of the stack."""
    with running_proxy(url) as proxy:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", proxy.url)
        services.reset()
        yield proxy
        services.reset()


@pytest.fixture
def table_proxy(
    store: Store, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    with proxied("DYNAMODB", roto_url, monkeypatch) as proxy:
        yield proxy


def check(*options: str) -> tuple[int, dict[str, Any]]:
    """Run the check; return its exit status and its report."""
    done = run("check_session_store", "--json", *options)
    report = done.json
    assert set(report) == {"ok", "status", "checks", "latencies", "kms_calls"}
    for finding in report["checks"]:
        assert set(finding) == {"name", "level", "detail", "remedy"}
        assert bool(finding["remedy"]) == (finding["level"] != "ok")
        assert finding["detail"]
    levels = [finding["level"] for finding in report["checks"]]
    worst = next((each for each in ("failing", "warning") if each in levels), "ok")
    assert report["status"] == worst
    assert report["ok"] == (done.status != 1) == (worst != "failing")
    return done.status, report


@dataclass(frozen=True)
class Trouble:
    """A finding that is not ok."""

    level: str
    detail: str
    remedy: str


def troubles(*options: str, canary: bool = False) -> dict[str, Trouble]:
    """Run the check; return the problems, without those that all stand-ins have.

    The check's canary is a quarter of its work: only tests that need it ask for it.
    """
    _, report = check(*options, *([] if canary else ["--no-canary"]))
    names = [each["name"] for each in report["checks"]]
    assert len(names) == len(set(names))
    return {
        each["name"]: Trouble(each["level"], each["detail"], each["remedy"])
        for each in report["checks"]
        if each["level"] != "ok" and each["name"] not in NOT_HERE
    }


def only_trouble(name: str, *, canary: bool = False) -> Trouble:
    """Run the check; return its only problem, which has this name."""
    found = troubles(canary=canary)
    assert list(found) == [name]
    return found[name]


def apply(remedy: str) -> None:
    """Run the commands in a remedy, in order."""
    commands = re.findall(r"`([^`]+)`", remedy)
    assert commands
    for command in commands:
        words = shlex.split(command)
        if words[0] == "aws":
            _aws(*words[1:])
        else:
            assert words[0] == "manage.py"
            call_command(*words[1:], stdout=io.StringIO())
    services.reset()


def _aws(service: str, operation: str, *options: str) -> None:
    """Do the same as the AWS CLI with these arguments."""
    names = ["".join(part.title() for part in each[2:].split("-")) for each in options[::2]]
    renamed = {"SseSpecification": "SSESpecification"}
    params = {
        renamed.get(name, name): _value(text)
        for name, text in zip(names, options[1::2], strict=True)
    }
    getattr(client(service), operation.replace("-", "_"))(**params)


def _value(text: str) -> Any:
    if text.startswith("{"):
        return json.loads(text)
    if "=" in text:  # the CLI's shorthand
        pairs = dict(pair.split("=") for pair in text.split(","))
        return {name: value == "true" or value for name, value in pairs.items()}
    return text
