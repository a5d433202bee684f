"""Rights, under the printed policies, enforced: each that lacks is named, each beyond is seen."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.operations import provisioning
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import REGION, Store, check, client, proxied
from tests.sessions_kms.support.deployed import Deployed, deploying
from tests.sessions_kms.support.faults import error
from tests.sessions_kms.support.iam import Enforcement, some
from tests.support.local_kms import LocalKMS

NEEDED = [
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:DeleteItem",
    "dynamodb:Query",
    "kms:GenerateDataKey",
    "kms:Decrypt",
]
store = checked_store.store
servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Deployed]:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSIONS_KMS = {}
    with deploying(monkeypatch) as stack:
        complete(stack.table)
        settings.SESSIONS_KMS = {
            "KEY_ID": stack.key,
            "TABLE_NAME": stack.table,
            "REGION_NAME": REGION,
            "NAMESPACE": "gateway",
        }
        yield stack


def complete(table: str) -> None:
    """Make the table again: moto's CloudFormation leaves out TTL, recovery and encryption."""
    client("dynamodb").update_table(TableName=table, DeletionProtectionEnabled=False)
    client("dynamodb").delete_table(TableName=table)
    list(provisioning.create_table(client("dynamodb"), table))


def act_as(role: Enforcement) -> None:
    services.reset()
    role.install()


def found_wrong(*options: str) -> dict[str, dict[str, Any]]:
    _, report = check(*options)
    return {each["name"]: each for each in report["checks"] if each["level"] != "ok"}


def without(role: Enforcement, action: str) -> None:
    for statement in role.policy["Statement"]:
        statement["Action"] = [each for each in some(statement["Action"]) if each != action]


@pytest.mark.slow
def test_doctor_under_its_own_policy_is_all_green_and_needs_all_of_it(deployed: Deployed) -> None:
    role = deployed.role("doctor")
    act_as(role)
    assert found_wrong() == {}
    assert role.used == role.granted_actions()
    assert role.denied == {
        "dynamodb:UpdateItem",  # Nothing that the site, or the doctor, has a right to.
        "kms:Decrypt",  # Outside of the sessions' encryption context.
        "kms:GenerateDataKey",
    }


@pytest.mark.slow
def test_missing_rights_to_inspect_are_reported(deployed: Deployed) -> None:
    act_as(deployed.role("web"))
    found = found_wrong()
    assert {each["level"] for each in found.values()} == {"warning"}
    assert {each["detail"] for each in found.values()} == {
        f"cannot be checked: AWS denies {action}"
        for action in (
            "dynamodb:DescribeTable",
            "dynamodb:DescribeTimeToLive",
            "dynamodb:DescribeContinuousBackups",
            "dynamodb:Scan",
            "kms:DescribeKey",
        )
    }
    act_as(deployed.role("doctor"))  # The remedy.
    assert found_wrong("--no-canary") == {}


@pytest.mark.slow
def test_right_that_lacks_is_named_and_granted_by_the_remedy(deployed: Deployed) -> None:
    for action in NEEDED:
        role = deployed.role("doctor")
        without(role, action)
        act_as(role)
        found = found_wrong("--no-canary")
        finding = found[f"right {action}"]
        assert [name for name in found if name.startswith("right")] == [f"right {action}"]
        assert finding["level"] == ("warning" if action == "dynamodb:Query" else "failing")
        assert finding["detail"].startswith("denied")
        assert f"Grant {action} on" in finding["remedy"]
        assert "docs aws`" in finding["remedy"]
    act_as(deployed.role("doctor"))
    assert found_wrong("--no-canary") == {}


@pytest.mark.slow
def test_key_without_conditions_is_seen_and_bound_by_the_remedy(deployed: Deployed) -> None:
    role = deployed.role("doctor")
    for statement in [*role.policy["Statement"], *role.key_policy["Statement"]]:
        statement.get("Condition", {}).pop("StringEquals", None)
    act_as(role)
    found = found_wrong()
    assert list(found) == ["over-grant context"]
    finding = found["over-grant context"]
    assert finding["level"] == "warning"
    assert finding["detail"] == "kms:GenerateDataKey and kms:Decrypt with any encryption context"
    assert "kms:EncryptionContext:namespace" in finding["remedy"]
    act_as(deployed.role("doctor"))
    assert found_wrong("--no-canary") == {}


def test_operators_right_is_reported_and_is_no_fault(deployed: Deployed) -> None:
    act_as(deployed.role("admin"))
    _, report = check()
    (told,) = [each for each in report["checks"] if each["name"] == "over-grant table"]
    assert told["level"] == "ok"
    assert "dynamodb:UpdateItem" in told["detail"]


@pytest.mark.slow
def test_kms_without_dry_runs_is_never_called_to_create_a_grant(deployed: Deployed) -> None:
    """moto ignores the flag, and would make the grant."""
    role = deployed.role("doctor")
    everything = {"Effect": "Allow", "Principal": "*", "Action": ["*"], "Resource": ["*"]}
    role.policy["Statement"].append(everything)
    role.key_policy["Statement"].append(everything)
    act_as(role)
    _, report = check()
    assert {each["name"] for each in report["checks"] if each["level"] != "ok"} == {
        "over-grant context"
    }
    grants = boto3.client("kms", region_name=REGION).list_grants(KeyId=deployed.key)["Grants"]
    assert grants == []


@servers
def test_key_that_does_more_is_seen_by_dry_runs_and_limited_by_the_remedy(
    store: Store, local_kms: LocalKMS, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxied("KMS", local_kms.url, monkeypatch) as proxy:
        proxy.on("CreateGrant", error("DryRunOperationException"))  # Which the local KMS lacks.
        finding = found_wrong()["over-grant key"]
        assert finding["level"] == "warning"
        assert finding["detail"].startswith("kms:Encrypt and kms:CreateGrant")
        dry = [body for name, body in proxy.requests if name in {"Encrypt", "CreateGrant"}]
        assert [body["DryRun"] for body in dry] == [True, True]
        proxy.heal()
        for operation in ("Encrypt", "CreateGrant"):
            proxy.on(operation, error("AccessDeniedException"))
        assert "over-grant key" not in found_wrong()


@servers
def test_previous_key_that_may_not_decrypt_is_named(
    store: Store, local_kms: LocalKMS, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous = checked_store.new_key()
    store.configure(DECRYPT_KEY_IDS=[previous])
    with proxied("KMS", local_kms.url, monkeypatch) as proxy:
        proxy.on("Decrypt", error("AccessDeniedException"), matching=previous.encode())
        assert found_wrong()["right kms:Decrypt"]["detail"] == f"denied on {previous}"
        proxy.heal()
        assert "right kms:Decrypt" not in found_wrong()


@servers
def test_trying_rights_writes_nothing(
    store: Store, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxied("DYNAMODB", roto_url, monkeypatch) as proxy:
        assert check("--no-canary")[0] == 0
        writes = {
            name: body["ConditionExpression"]
            for name, body in proxy.requests
            if name in {"PutItem", "DeleteItem", "UpdateItem"}
        }
        assert store.items() == []
    never = "attribute_exists(id)"
    assert writes == {"PutItem": never, "DeleteItem": never, "UpdateItem": never}
