"""The CloudFormation template: linted, deployed, and fit for the engine."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from sessions_kms.operations import provisioning
from tests.sessions_kms.support.deployed import Deployed, printed_yaml, template
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import REGION
from tests.support.clock import FakeClock

OLD_KEY = f"arn:aws:kms:{REGION}:123456789012:key/99999999-2222-3333-4444-555555555555"


def lint(folder: Path, *templates: str) -> str:
    """Return what the linter says of templates, in one process: it takes seconds to start."""
    files = [folder / f"{number}.yaml" for number in range(len(templates))]
    for file, text in zip(files, templates, strict=True):
        file.write_text(text, encoding="utf-8")
    linter = Path(sys.executable).with_name("cfn-lint")
    options = ("--regions", REGION, "--format", "parseable", "--template")
    command = [str(part) for part in (linter, *options, *files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) == (done.stdout == "")
    return done.stdout + done.stderr


@pytest.mark.slow
def test_linter_finds_only_real_faults(settings: Settings, tmp_path: Path) -> None:
    settings.SESSIONS_KMS = {
        "ENCRYPTION_CONTEXT": {"stage": "prod ${x}"},
        "DECRYPT_KEY_IDS": [OLD_KEY],
    }
    plain = printed_yaml()
    three_regions = printed_yaml("--replica", "eu-central-1", "--replica", "us-east-1")
    faulty = plain.replace("BillingMode: PAY_PER_REQUEST", "BillingMode: FREE")
    said = lint(tmp_path, plain, printed_yaml("--multi-region"), three_regions, faulty)
    assert "'FREE' is not one of" in said
    assert {line.partition(":")[0] for line in said.splitlines()} == {str(tmp_path / "3.yaml")}


@pytest.mark.parametrize("options", [[], ["--replica", "eu-central-1"]])
def test_table_is_the_one_that_provisioning_makes(options: list[str]) -> None:
    table = template(*options)["Resources"]["SessionsTable"]["Properties"]
    if options:  # A global table has this for each of its Regions.
        table["DeletionProtectionEnabled"] = True
    assert provisioning.TABLE.items() <= table.items()
    ttl = {"AttributeName": provisioning.TTL_ATTRIBUTE, "Enabled": True}
    assert table["TimeToLiveSpecification"] == ttl


def test_keys_have_descriptions() -> None:
    resources = template("--multi-region")["Resources"]
    for name in ("SessionsKey", "SessionsReplicaKey"):
        description = resources[name]["Properties"]["Description"]
        assert description == provisioning.KEY_DESCRIPTION


def test_policies_survive_the_way_into_yaml(settings: Settings) -> None:
    strange = 'a "${b}" %{c} {{ d }} {% e %} \\d # \n ü <x>'
    settings.SESSIONS_KMS = {"ENCRYPTION_CONTEXT": {strange: strange}}
    (statement,) = (
        each
        for each in template()["Resources"]["WebRole"]["Properties"]["Policies"][0][
            "PolicyDocument"
        ]["Statement"]
        if each["Sid"] == "DataKeys"
    )
    assert statement["Condition"]["StringEquals"] == {
        "kms:EncryptionContext:purpose": "sessions_kms",
        "kms:EncryptionContext:namespace": {"Ref": "Namespace"},
        f"kms:EncryptionContext:{strange}": strange.replace("${", "${$}{"),
    }


def test_deployed_table_needs_nothing_that_moto_does_not_leave_out(deployed: Deployed) -> None:
    client = boto3.client("dynamodb", region_name=REGION)
    # moto's CloudFormation leaves two properties out, so provisioning completes them.
    assert list(provisioning.create_table(client, deployed.table)) == [
        "enabled TTL on ttl",
        "enabled point-in-time recovery",
    ]
    properties = template()["Resources"]["SessionsTable"]["Properties"]
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    recovery = properties["PointInTimeRecoverySpecification"]
    assert recovery == {"PointInTimeRecoveryEnabled": True}
    assert properties["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}


def test_deployed_key_is_the_one_that_provisioning_would_make(deployed: Deployed) -> None:
    client = boto3.client("kms", region_name=REGION)
    assert provisioning.create_key(client, provisioning.DEFAULT_ALIAS) == (deployed.key, [])


def test_session_is_stored_in_the_deployed_table(deployed: Deployed, clock: FakeClock) -> None:
    deployed.serve_as("web", clock)
    store = save_session(cat=1)
    assert SessionStore(store.session_key)["cat"] == 1


def test_table_and_key_outlive_their_stack() -> None:
    for options in ([], ["--replica", "eu-central-1"]):
        for name, part in template(*options)["Resources"].items():
            kept = part["Type"].startswith(("AWS::DynamoDB::", "AWS::KMS::"))
            if kept and part["Type"] != "AWS::KMS::Alias":
                assert part["DeletionPolicy"] == "Retain", name
                assert part["UpdateReplacePolicy"] == "Retain", name


def test_site_is_assumed_by_its_service_and_the_others_by_operators(deployed: Deployed) -> None:
    iam = boto3.client("iam", region_name=REGION)

    def trusts(role: str) -> Any:
        found: Any = iam.get_role(RoleName=f"{deployed.table}-{role}")["Role"]
        (statement,) = found["AssumeRolePolicyDocument"]["Statement"]
        return statement["Principal"]

    assert trusts("web") == {"Service": "ecs-tasks.amazonaws.com"}
    for role in ("admin", "doctor"):
        assert trusts(role) == {"AWS": "arn:aws:iam::123456789012:root"}


def test_each_region_has_the_same_policy_of_the_key() -> None:
    resources = template("--replica", "eu-central-1")["Resources"]
    primary, replica = resources["SessionsKey"], resources["SessionsReplicaKey"]
    assert primary["Properties"]["KeyPolicy"] == replica["Properties"]["KeyPolicy"]
    assert (primary["Condition"], replica["Condition"]) == ("IsHome", "IsReplica")


def test_replicas_are_protected_and_backed_up_as_the_table_is() -> None:
    properties = template("--replica", "eu-central-1")["Resources"]["SessionsTable"]["Properties"]
    assert [each["Region"] for each in properties["Replicas"]] == [
        {"Ref": "AWS::Region"},
        "eu-central-1",
    ]
    for replica in properties["Replicas"]:
        assert replica["DeletionProtectionEnabled"]
        assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]


def test_another_region_makes_the_replica_of_the_key_only() -> None:
    made = template("--replica", "eu-central-1")
    there = {name for name, part in made["Resources"].items() if part.get("Condition") != "IsHome"}
    assert there == {"SessionsReplicaKey", "Alias"}
    assert [name for name, part in made["Outputs"].items() if "Condition" not in part] == ["KeyArn"]
