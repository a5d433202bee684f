"""`session_store_template` as an operator runs it: its names and errors."""

import json
import re
from typing import Any

import pytest
from django.core.management import CommandError
from pytest_django import Settings

from sessions_kms.infrastructure.policies import ROLES, roles_of
from sessions_kms.operations import provisioning
from tests.sessions_kms.support.deployed import run_and_print, template

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
MULTI_REGION_KEY = "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1111111122223333444455555555"


def policies(*options: str) -> Any:
    return json.loads(run_and_print("--format", "iam-policy", *options))


def resources(*options: str) -> list[str]:
    """Return the ARNs that the site's policy names."""
    found: list[str] = []
    for statement in policies("--role", "web", *options)["Statement"]:
        named = statement["Resource"]
        found += [named] if isinstance(named, str) else named
    return found


@pytest.mark.parametrize("raw", [None, {}, "sessions"])
def test_templates_need_no_settings(settings: Settings, raw: Any) -> None:
    settings.SESSIONS_KMS = raw
    expected = {
        "TableName": "sessions",
        "Namespace": "django",
        "KeyAlias": provisioning.DEFAULT_ALIAS,
        "RolePrefix": "sessions",
    }
    assert defaults().items() >= expected.items()
    text = run_and_print("--format", "terraform")
    found = dict(re.findall(r'variable "(\w+)" \{[^}]*?default += "(.*)"', text))
    assert found == {
        "table_name": "sessions",
        "namespace": "django",
        "key_alias": provisioning.DEFAULT_ALIAS,
        "web_service": defaults()["WebService"],
    }


def defaults(*options: str) -> dict[str, str]:
    """Return what the template's parameters are unless a deployment says otherwise."""
    return {name: each["Default"] for name, each in template(*options)["Parameters"].items()}


def test_names_come_from_the_settings(settings: Settings) -> None:
    settings.SESSIONS_KMS = {
        "KEY_ID": KEY,
        "TABLE_NAME": "mine",
        "NAMESPACE": "shop",
        "REGION_NAME": "eu-north-1",
        "ENCRYPTION_CONTEXT": {"stage": "prod"},
        "DECRYPT_KEY_IDS": [KEY.replace("1111", "2222")],
    }
    site = policies("--role", "web")["Statement"]
    context = {
        "kms:EncryptionContext:purpose": "sessions_kms",
        "kms:EncryptionContext:namespace": "shop",
        "kms:EncryptionContext:stage": "prod",
    }
    assert site[0]["Resource"] == "arn:aws:dynamodb:eu-north-1:123456789012:table/mine"
    assert site[2]["Condition"] == {"StringEquals": context}
    assert site[2]["Resource"] == KEY
    assert site[3] == {
        "Sid": "PreviousDataKeys",
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": KEY.replace("1111", "2222"),
        "Condition": {"StringEquals": context},
    }


def test_options_come_before_the_settings(settings: Settings) -> None:
    settings.SESSIONS_KMS = {"KEY_ID": KEY, "TABLE_NAME": "mine", "NAMESPACE": "shop"}
    other = KEY.replace("1111", "3333")
    options = ["--table", "other", "--region", "eu-north-1", "--account", "210987654321"]
    assert resources("--key", other, *options) == [
        "arn:aws:dynamodb:eu-north-1:210987654321:table/other",
        "arn:aws:dynamodb:eu-north-1:210987654321:table/other/index/by-owner",
        other,
    ]


def test_table_arn_determines_the_policy_resources(settings: Settings) -> None:
    table = "arn:aws:dynamodb:us-east-1:210987654321:table/mine"
    settings.SESSIONS_KMS = {"KEY_ID": KEY, "TABLE_NAME": table, "REGION_NAME": "us-east-1"}
    assert resources() == [table, f"{table}/index/by-owner", KEY]
    assert defaults()["TableName"] == "mine"


def test_policies_name_table_and_key_of_every_region(settings: Settings) -> None:
    settings.SESSIONS_KMS = {"KEY_ID": MULTI_REGION_KEY, "TABLE_NAME": "mine"}
    north = "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/mine"
    west = north.replace("cn-north-1", "cn-northwest-1")
    assert resources("--replica", "cn-northwest-1") == [
        north,
        west,
        f"{north}/index/by-owner",
        f"{west}/index/by-owner",
        MULTI_REGION_KEY,
        MULTI_REGION_KEY.replace("cn-north-1", "cn-northwest-1"),
    ]


def test_without_a_role_every_policy_is_printed(settings: Settings) -> None:
    settings.SESSIONS_KMS = {"KEY_ID": KEY}
    found = policies()
    assert list(found) == list(ROLES)
    assert all(found[role] == policies("--role", role) for role in ROLES)


@pytest.mark.parametrize("form", ["cloudformation", "terraform", "iam-policy"])
def test_json_is_one_object(settings: Settings, form: str) -> None:
    settings.SESSIONS_KMS = {"KEY_ID": KEY}
    found = json.loads(run_and_print("--format", form, "--json"))
    assert found["format"] == form
    text = run_and_print("--format", form)
    if form == "iam-policy":
        assert found["document"] == json.loads(text)
    else:
        assert found["text"] == text


def test_role_names_fit_into_iams_limit() -> None:
    table = "t" * 255
    prefix = defaults("--table", table)["RolePrefix"]
    assert max(len(f"{prefix}-{role}") for role in roles_of(audit=True)) == 64
    parameter = template("--table", table)["Parameters"]["RolePrefix"]
    assert parameter["MaxLength"] == len(prefix)
    assert f"substr(var.table_name, 0, {len(prefix)})" in run_and_print("--format", "terraform")


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        ({}, ["--format", "iam-policy"], "pass --key ARN, or set KEY_ID in SESSIONS_KMS"),
        ({"KEY_ID": "alias/x"}, ["--format", "iam-policy"], r"SESSIONS_KMS\['KEY_ID'\] must be"),
        ({}, ["--format", "terraform", "--table", "a/b"], "--table must be the name"),
        ({}, ["--format", "terraform", "--namespace", "a b"], "--namespace must be 1 to 64"),
        ({}, ["--format", "terraform", "--alias", "sessions"], "use alias/NAME"),
        ({}, ["--format", "terraform", "--replica", "Mordor"], "--replica must be an AWS Region"),
        ({}, ["--format", "iam-policy", "--key", KEY, "--region", "?"], "--region must be an AWS"),
        ({}, ["--format", "iam-policy", "--key", KEY, "--account", "1"], "--account must be"),
        (
            {"KEY_ID": KEY},
            ["--format", "iam-policy", "--replica", "eu-north-1"],
            "is not a multi-Region key",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_advice(
    settings: Settings, raw: Any, options: list[str], message: str
) -> None:
    settings.SESSIONS_KMS = raw
    with pytest.raises(CommandError, match=message):
        run_and_print(*options)


AUDIT_KEY = "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222-3333-4444-555555555555"


def statements_on(policy: dict[str, Any], actions: set[str]) -> dict[str, str]:
    """Return the resources by action, of the statements that allow some actions."""
    found: dict[str, str] = {}
    for each in policy["Statement"]:
        listed = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
        found |= {action: each["Resource"] for action in listed if action in actions}
    return found


def test_audit_adds_a_key_that_the_auditor_verifies_with_and_the_other_roles_sign_with(
    settings: Settings,
) -> None:
    settings.SESSIONS_KMS = {}
    macs = {"kms:GenerateMac", "kms:VerifyMac"}
    with_key = policies("--key", KEY, "--audit-key", AUDIT_KEY)
    assert list(with_key) == [*ROLES, "auditor"]
    for role, policy in with_key.items():
        expected = "kms:VerifyMac" if role == "auditor" else "kms:GenerateMac"
        assert statements_on(policy, macs) == {expected: AUDIT_KEY}
    without = policies("--key", KEY)
    assert not any(statements_on(policy, macs) for policy in without.values())
    settings.SESSIONS_KMS = {"AUDIT_KEY_ID": AUDIT_KEY}
    assert policies("--key", KEY) == with_key


def test_auditor_may_read_the_table_and_do_nothing_else_with_kms(settings: Settings) -> None:
    settings.SESSIONS_KMS = {}
    policy = policies("--role", "auditor", "--key", KEY, "--audit-key", AUDIT_KEY)
    actions = {each["Action"]: each["Resource"] for each in policy["Statement"]}
    assert list(actions) == ["dynamodb:GetItem", "dynamodb:Query", "kms:VerifyMac"]
    for name, statement in key_statements("--audit").items():
        allowed = json.dumps(statement.get("Condition", ""))
        assert ("-auditor" in allowed) == (name == "VerifyingCheckpoints"), name
        assert ("-doctor" in allowed) == (name in {"DataKeys", "Checkpoints"}), name
    with pytest.raises(CommandError, match="pass --audit-key ARN"):
        policies("--role", "auditor", "--key", KEY)


def key_statements(*options: str) -> dict[str, Any]:
    """Return the statements of both keys' policies; they have different names."""
    resources = template(*options)["Resources"]
    return {
        each["Sid"]: each
        for key in ("SessionsKey", "AuditKey")
        for each in resources[key]["Properties"]["KeyPolicy"]["Statement"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--replica", "eu-central-1"]])
def test_audit_key_is_in_both_templates(settings: Settings, options: list[str]) -> None:
    settings.SESSIONS_KMS = {}
    resources = template("--audit", *options)["Resources"]
    key = resources["AuditKey"]
    assert (key["Properties"]["KeySpec"], key["DeletionPolicy"]) == ("HMAC_256", "Retain")
    allowed = {
        statement["Sid"]: statement["Action"]
        for statement in key["Properties"]["KeyPolicy"]["Statement"]
    }
    assert allowed["Checkpoints"] == ["kms:GenerateMac"]
    assert allowed["VerifyingCheckpoints"] == ["kms:VerifyMac"]
    assert ("Condition" in key) == bool(options)
    terraform = run_and_print("--format", "terraform", "--audit", *options)
    assert 'customer_master_key_spec = "HMAC_256"' in terraform
    assert "aws_kms_key.audit.arn" in terraform
    for form in ("terraform", "cloudformation"):
        assert "audit" not in run_and_print("--format", form, *options).lower()
