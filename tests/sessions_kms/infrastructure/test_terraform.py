"""The Terraform configuration, read back and compared with what the other formats print."""

import json
import re
from functools import cache
from typing import Any

import hcl2
import pytest
from pytest_django import Settings

from sessions_kms.infrastructure.policies import ROLES
from sessions_kms.operations import provisioning
from tests.sessions_kms.support.deployed import run_and_print, template
from tests.sessions_kms.support.iam import ACCOUNT, some
from tests.support.cases import each_case

HOME, THERE = "eu-west-1", "eu-central-1"
KEY = f"arn:aws:kms:{HOME}:{ACCOUNT}:key/mrk-11111111222233334444555555555555"
OLD_KEY = f"arn:aws:kms:{HOME}:{ACCOUNT}:key/99999999-2222-3333-4444-555555555555"
TABLE = f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/sessions"
# What Terraform would put in the place of each reference.
VALUES = {
    "data.aws_partition.here.partition": "aws",
    "data.aws_caller_identity.here.account_id": ACCOUNT,
    "local.account_root": f"arn:aws:iam::{ACCOUNT}:root",
    "local.role_prefix": "sessions",
    "var.namespace": "gateway",
    "var.table_name": "sessions",
    "aws_dynamodb_table.sessions.arn": TABLE,
    "aws_dynamodb_table.sessions.name": "sessions",
    "aws_kms_key.sessions.arn": KEY,
    f"aws_kms_replica_key.{THERE.replace('-', '_')}.arn": KEY.replace(HOME, THERE),
    **{
        f"aws_iam_role.{role}.arn": f"arn:aws:iam::{ACCOUNT}:role/sessions-{role}" for role in ROLES
    },
}


@pytest.fixture(autouse=True)
def named(settings: Settings) -> None:
    settings.SESSIONS_KMS = {
        "TABLE_NAME": "sessions",
        "NAMESPACE": "gateway",
        "ENCRYPTION_CONTEXT": {"stage": 'a "${b}" %{c}\\d'},
        "DECRYPT_KEY_IDS": [OLD_KEY],
    }


@cache  # to parse one takes half a second
def loads(text: str) -> dict[str, Any]:
    read: dict[str, Any] = hcl2.loads(text)
    return read


def parse_template(*options: str) -> dict[str, dict[str, Any]]:
    """Return the blocks with two labels by type and name, their values as Terraform sees them."""
    read = loads(run_and_print("--format", "terraform", *options))
    return {
        f"{plain(kind)}.{plain(name)}": plain(body)
        for block in read["resource"]
        for kind, named in block.items()
        for name, body in named.items()
    }


def policies(*options: str) -> dict[str, list[dict[str, Any]]]:
    """Return the statements that `jsonencode` makes of each role's policy, and of the key's."""
    text = run_and_print("--format", "terraform", *options)
    loads(text)  # It is HCL. What it encodes is JSON besides, but for the references.
    encoded = re.findall(
        r"^  (?:key_)?policy += jsonencode\((\{.*?^  \})\)", text, re.MULTILINE | re.DOTALL
    )
    names = re.findall(r'"aws_iam_role_policy" "(\w+)"', text)
    documents = [fill_value(json.loads(each)) for each in encoded]
    return {
        name: [normal(statement) for statement in document["Statement"]]
        for name, document in zip(["key", *names], documents, strict=True)
    }


def fill_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {fill_text(name): fill_value(each) for name, each in value.items()}
    if isinstance(value, list):
        return [fill_value(each) for each in value]
    return fill_text(value)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {plain(name): plain(each) for name, each in value.items() if name != "__is_block__"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith('"'):
        return fill_text(json.loads(value))
    reference = value.removeprefix("${").removesuffix("}")
    return VALUES.get(reference, reference)


def fill_text(text: str) -> str:
    text = re.sub(r"(?<!\$)\$\{([^}]*)\}", lambda found: VALUES[found[1]], text)
    return text.replace("$${", "${").replace("%%{", "%{")


def normal(value: Any) -> Any:
    """Write what is one as a list of one: IAM reads both alike."""
    if isinstance(value, dict):
        return {name: normal(each) for name, each in value.items()}
    return [normal(each) if isinstance(each, dict) else each for each in some(value)]


@pytest.mark.slow
@each_case("role", list(ROLES))
@each_case("options", [[], ["--replica", THERE]])
def test_policies_of_roles_are_those_of_iam_policy(role: str, options: list[str]) -> None:
    arns = ["--role", role, "--key", KEY]
    expected = json.loads(run_and_print("--format", "iam-policy", *arns, *options))
    assert policies(*options)[role] == [normal(each) for each in expected["Statement"]]


@pytest.mark.parametrize("options", [[], ["--replica", THERE]])
def test_policy_of_the_key_is_that_of_cloudformation(options: list[str]) -> None:
    key = template(*options)["Resources"]["SessionsKey"]["Properties"]["KeyPolicy"]
    text = json.dumps(key).replace('{"Ref": "Namespace"}', '"gateway"')
    for parameter, text_of_it in [
        ("AWS::Partition", "aws"),
        ("AWS::AccountId", ACCOUNT),
        ("RolePrefix", "sessions"),
    ]:
        text = text.replace(f"${{{parameter}}}", text_of_it)
    expected = [normal(_without_sub(each)) for each in json.loads(text)["Statement"]]
    assert policies(*options)["key"] == expected


def _without_sub(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("Fn::Sub") or {name: _without_sub(each) for name, each in value.items()}
    return [_without_sub(each) for each in value] if isinstance(value, list) else value


def test_table_is_the_one_that_provisioning_makes() -> None:
    (table,) = [
        body for name, body in parse_template().items() if name.startswith("aws_dynamodb_table.")
    ]
    assert table.pop("lifecycle") == [{"prevent_destroy": True}]
    assert table == {
        "name": "sessions",
        "billing_mode": "PAY_PER_REQUEST",
        "hash_key": "id",
        "deletion_protection_enabled": True,
        "attribute": [
            {"name": each["AttributeName"], "type": each["AttributeType"]}
            for each in provisioning.ATTRIBUTES
        ],
        "global_secondary_index": [
            {
                "name": "by-owner",
                "hash_key": "owner",
                "range_key": "createdAt",
                "projection_type": "KEYS_ONLY",
            }
        ],
        "ttl": [{"attribute_name": "ttl", "enabled": True}],
        "point_in_time_recovery": [{"enabled": True}],
        "server_side_encryption": [{"enabled": True}],
    }


def test_key_is_rotated_and_multi_region_only_if_requested() -> None:
    for options, multi_region in ([], False), (["--multi-region"], True):
        key = parse_template(*options)["aws_kms_key.sessions"]
        assert (key["enable_key_rotation"], key["multi_region"]) == (True, multi_region)


def test_replicas_have_table_key_and_alias() -> None:
    found = parse_template("--replica", THERE)
    table = found["aws_dynamodb_table.sessions"]
    assert (table["stream_enabled"], table["stream_view_type"]) == (True, "NEW_AND_OLD_IMAGES")
    assert table["replica"] == [
        {
            "region_name": THERE,
            "point_in_time_recovery": True,
            "deletion_protection_enabled": True,
        }
    ]
    key, alias = found["aws_kms_replica_key.eu_central_1"], found["aws_kms_alias.eu_central_1"]
    assert (key["region"], key["primary_key_arn"]) == (THERE, KEY)
    assert (alias["region"], alias["name"]) == (THERE, "var.key_alias")


def test_every_reference_is_to_something_declared() -> None:
    text = run_and_print("--format", "terraform", "--replica", THERE)
    declared = {
        ".".join(found) for found in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)
    } | {
        ".".join(["data", *found])
        for found in re.findall(r'^data "(\w+)" "(\w+)"', text, re.MULTILINE)
    }
    used = set(re.findall(r"(?<![\w.\"])(?:data\.)?aws_\w+\.\w+(?=\.)", text))
    assert used
    assert used <= declared
    variables = set(re.findall(r"\bvar\.(\w+)", text))
    assert variables == set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))


def test_text_is_never_read_as_a_template(settings: Settings) -> None:
    hostile = '"${file("/etc/passwd")}" %{ if true } {{ x }} \\ \n ü'
    settings.SESSIONS_KMS = {"ENCRYPTION_CONTEXT": {hostile: hostile}}
    context = policies()["web"][2]["Condition"]["StringEquals"]
    assert context[f"kms:EncryptionContext:{hostile}"] == [hostile.replace("${", "${$}{")]
    assert "%{ if" not in run_and_print("--format", "terraform").replace("%%{", "")


def test_keys_have_descriptions() -> None:
    for name in ("aws_kms_key.sessions", "aws_kms_replica_key.eu_central_1"):
        assert (
            parse_template("--replica", THERE)[name]["description"] == provisioning.KEY_DESCRIPTION
        )
