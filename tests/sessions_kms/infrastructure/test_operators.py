"""The policies of admin and doctor, enforced on the commands that need them."""

import dataclasses
import re

import boto3
import pytest
from moto import mock_aws
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.aws import kms as aws
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable
from sessions_kms.infrastructure import policies
from sessions_kms.management.base import INCOMPLETE
from sessions_kms.operations import ending, provisioning
from sessions_kms.operations.audit_writers import AuditWriter, AuditWriters
from sessions_kms.operations.listing import Inspection
from sessions_kms.testing.kms import MemoryKMS
from tests import ROOT
from tests.sessions_kms.support.commands import run
from tests.sessions_kms.support.deployed import Deployed
from tests.sessions_kms.support.iam import ACCOUNT, Enforcement
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import REGION, install
from tests.support.clock import FakeClock

DOCS = ROOT / "docs" / "aws.md"
DAY = 24 * 3600
# What the doctor tries in order to find rights that nobody should have.
BEYOND = {
    "dynamodb:UpdateItem",
    "kms:CreateGrant",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:Decrypt",
}


@pytest.fixture
def moving(deployed: Deployed, clock: FakeClock) -> Enforcement:
    """The rights of an operator who moves from a previous KMS key, which sealed three sessions."""
    old = boto3.client("kms", region_name=REGION).create_key()["KeyMetadata"]["Arn"]
    store = policies.Store(
        table=deployed.table, namespace="gateway", alias="alias/x", old_keys=(old,)
    )
    before = Config(key_id=old, table_name=deployed.table, region_name=REGION, namespace="gateway")
    clients.reset()
    install(services.build(before, clock=clock, sleep=clock.advance))
    for content in ({"_auth_user_id": "7"}, {"_auth_user_id": "8"}, {"cart": [1]}):
        save_session(**content)

    arns = policies.resources_of(store, key=deployed.key, account=ACCOUNT, region=REGION)
    root, operator = f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:role/operator"
    roles = dict.fromkeys(policies.ROLES, operator)
    enforced = Enforcement(
        operator,
        policies.role_policy(policies.ADMIN, store.context, arns),
        policies.key_policy(store.context, account=root, roles=roles, multi_region=False),
    )
    enforced.install()
    now = dataclasses.replace(before, key_id=deployed.key, decrypt_key_ids=(old,))
    install(services.build(now, clock=clock, sleep=clock.advance))
    return enforced


def test_operator_needs_all_of_the_policy_and_nothing_else(
    moving: Enforcement, clock: FakeClock
) -> None:
    assert run("rewrap_sessions", "--no-input").status == 0
    period = int(clock()) - int(clock()) % DAY
    for which in (["--user", "7"], ["--key-period", str(period)], ["--all"]):
        assert run("end_sessions", *which, "--no-input").status == 0
    assert run("clearsessions").status == INCOMPLETE  # moto's CloudFormation leaves TTL off.
    assert run("clearsessions", "--force").status == 0
    Inspection(services.services()).list_table()
    assert moving.denied == set()
    assert moving.used == moving.granted_actions()


def test_auditor_needs_to_read_the_table_and_can_do_nothing_else_there(
    deployed: Deployed, clock: FakeClock
) -> None:
    enforced, wired = deployed.serve_as("web", clock)
    written = AuditWriter("w1", created_at=1_000, number=3, checkpoint=b"{}")
    assert AuditWriters(wired, MemoryKMS()).put(written)
    store = policies.Store(table=deployed.table, namespace="gateway", alias="alias/x", audit=True)
    arns = policies.resources_of(
        store, key=deployed.key, account=ACCOUNT, region=REGION, audit_key=deployed.key
    )
    policy = policies.role_policy(policies.AUDITOR, store.context, arns)
    auditor = Enforcement(enforced.role_arn, policy, enforced.key_policy)
    auditor.install()
    writers = AuditWriters(services.build(wired.config, clock=clock), MemoryKMS())
    assert writers.names() == ["w1"]
    assert writers.get("w1") is not None
    assert not writers.should_have("w1", clock())
    assert auditor.denied == set()
    assert auditor.used | {"kms:VerifyMac"} == auditor.granted_actions()
    with pytest.raises(StoreUnavailable):
        writers.put(written)


def test_admin_of_django_needs_scan_beside_the_policy_of_web_and_nothing_else(
    deployed: Deployed, clock: FakeClock
) -> None:
    enforced, _ = deployed.serve_as("web", clock)
    table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{deployed.table}"
    scan = {"Effect": "Allow", "Action": "dynamodb:Scan", "Resource": table}
    enforced.policy["Statement"].append(scan)
    for content in ({"_auth_user_id": "7"}, {"_auth_user_id": "7"}, {"cart": [1]}):
        save_session(**content)
    inspection = Inspection(services.services())
    assert len(inspection.list_table().rows) == 3
    one, _ = run_sync(inspection.list_user_sessions("7")).rows
    assert run_sync(inspection.find(one.id)) is not None
    assert inspection.end(one.id)
    assert ending.end_sessions_of(services.services(), "7") == 1
    assert ending.end_before(services.services(), int(clock()))
    assert enforced.denied == set()


def test_operator_moves_data_keys_within_the_context_of_the_sessions_only(
    moving: Enforcement,
) -> None:
    config = services.services().config
    (old,) = config.decrypt_key_ids
    ours = {"purpose": "sessions_kms", "namespace": "gateway", "period": "0"}
    blob = aws.KMS().generate_data_key(config.key_id, ours).ciphertext

    def move(source: str, context: dict[str, str]) -> None:
        aws.KMS().re_encrypt(blob, source=source, destination=config.key_id, context=context)

    for source, context, denied in [
        (old, {**ours, "namespace": "another"}, "kms:ReEncryptFrom"),
        (config.key_id, ours, "kms:ReEncryptFrom"),
    ]:
        moving.denied.clear()
        with pytest.raises(KMSUnavailable):
            move(source, context)
        assert moving.denied == {denied}


@pytest.mark.slow
def test_doctor_needs_all_of_the_policy(deployed: Deployed, settings: Settings) -> None:
    enforced = deployed.role("doctor")
    list(provisioning.create_table(clients.control_client("dynamodb", REGION), deployed.table))
    settings.SESSIONS_KMS = {
        "KEY_ID": deployed.key,
        "TABLE_NAME": deployed.table,
        "REGION_NAME": REGION,
        "NAMESPACE": "gateway",
    }
    enforced.install()
    report = run("check_session_store", "--json").json
    assert [each for each in report["checks"] if each["level"] == "failing"] == []
    assert [each for each in report["checks"] if "denie" in each["detail"]] == []
    assert enforced.used == enforced.granted_actions()
    assert enforced.denied <= BEYOND


def test_documented_rights_of_create_session_store_are_those_that_it_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    allowed = {"Effect": "Allow", "Action": ["dynamodb:*", "kms:*"], "Resource": "*"}
    everything = {"Statement": [allowed]}
    creator = Enforcement("creator", everything, everything)
    with mock_aws():
        creator.install()
        clients.control_client("dynamodb", REGION).create_table(
            TableName="bare",
            KeySchema=provisioning.KEY_SCHEMA,
            AttributeDefinitions=provisioning.ATTRIBUTES[:1],
            BillingMode="PAY_PER_REQUEST",
        )
        for table in ("bare", "new"):
            command = ["create_session_store", "--table", table, "--region", REGION]
            assert run(*command, "--create-key", "--alias", f"alias/{table}").status == 0
    section = DOCS.read_text(encoding="utf-8").partition("\n## 3.")[0]
    documented = set(re.findall(r"`((?:dynamodb|kms):\w+)`", section))
    # Tags that a key is created with are another right, but no other call.
    assert documented == creator.used | {"kms:TagResource"}
