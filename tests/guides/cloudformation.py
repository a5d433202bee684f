"""CloudFormation and IAM as guides use them, for `aws.py`.

A stack's table and key are created in the DynamoDB and KMS that the environment names. Its roles
get an ARN and nothing else, since nothing here evaluates them; tests/sessions_kms/infrastructure
does. Stacks are stored in the folder AWS_STAND_IN, from one command to the next.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

Options = Mapping[str, Sequence[str]]
ACCOUNT = "123456789012"
REFERENCE = re.compile(r"\$\{([\w:.]+)\}")
DEPLOYED = """
Waiting for changeset to be created..
Waiting for stack create/update to complete
Successfully created/updated stack - {}
"""


class Stack:
    """A template and its parameters, whose resources are created in the template's order."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.template = template
        defaults = {name: each["Default"] for name, each in template["Parameters"].items()}
        pseudo = {"AWS::Partition": "aws", "AWS::AccountId": ACCOUNT}
        self.names = defaults | dict(parameters) | pseudo

    def create(self) -> dict[str, str]:
        """Create everything; return the outputs."""
        for name, resource in self.template["Resources"].items():
            create = CREATE[resource["Type"]]
            properties = resource["Properties"]
            self.names |= {f"{name}{part}": text for part, text in create(self, properties).items()}
        outputs = self.template["Outputs"].items()
        return {name: self.resolve(each["Value"]) for name, each in outputs}

    def resolve(self, value: Any) -> Any:
        """Return a value of the template, with its references replaced."""
        match value:
            case {"Ref": name}:
                return self.names[name]
            case {"Fn::GetAtt": [name, attribute]}:
                return self.names[f"{name}.{attribute}"]
            case {"Fn::Sub": text}:
                return REFERENCE.sub(lambda found: self.names[found[1]], text)
            case dict():
                return {name: self.resolve(each) for name, each in value.items()}
            case list():
                return [self.resolve(each) for each in value]
        return value

    def create_table(self, properties: Mapping[str, Any]) -> dict[str, str]:
        client = boto3.client("dynamodb")
        given = self.resolve(properties)
        name = given["TableName"]
        expiry = given.pop("TimeToLiveSpecification")
        recovery = given.pop("PointInTimeRecoverySpecification")
        given["SSESpecification"]["Enabled"] = given["SSESpecification"].pop("SSEEnabled")
        client.create_table(**given)
        client.get_waiter("table_exists").wait(TableName=name)
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
        client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
        return {"": name, ".Arn": client.describe_table(TableName=name)["Table"]["TableArn"]}

    def create_key(self, properties: Mapping[str, Any]) -> dict[str, str]:
        """Create the key without tags and policy: the local KMS evaluates no conditions."""
        client = boto3.client("kms")
        made = client.create_key(Description=properties["Description"])["KeyMetadata"]
        if properties["EnableKeyRotation"]:
            client.enable_key_rotation(KeyId=made["KeyId"])
        return {"": made["KeyId"], ".Arn": made["Arn"]}

    def create_alias(self, properties: Mapping[str, Any]) -> dict[str, str]:
        given = self.resolve(properties)
        boto3.client("kms").create_alias(**given)
        return {"": given["AliasName"]}

    def create_role(self, properties: Mapping[str, Any]) -> dict[str, str]:
        name = self.resolve(properties["RoleName"])
        return {"": name, ".Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}"}


CREATE = {
    "AWS::DynamoDB::Table": Stack.create_table,
    "AWS::KMS::Key": Stack.create_key,
    "AWS::KMS::Alias": Stack.create_alias,
    "AWS::IAM::Role": Stack.create_role,
}


def deploy(options: Options) -> None:
    """Create a stack, and print what `aws cloudformation deploy` prints."""
    from cfnlint.decode import cfn_yaml  # half a second

    assert options["capabilities"] == ["CAPABILITY_NAMED_IAM"]
    template = json.loads(json.dumps(cfn_yaml.load(options["template-file"][0])))
    parameters = dict(each.split("=", 1) for each in options.get("parameter-overrides", []))
    (name,) = options["stack-name"]
    outputs = Stack(template, parameters).create()
    find_file(name).write_text(json.dumps(outputs), encoding="utf-8")
    sys.stdout.write(DEPLOYED.format(name))


def describe_stacks(options: Options) -> dict[str, Any]:
    """Return the response of DescribeStacks, of one stack."""
    (name,) = options["stack-name"]
    outputs = json.loads(find_file(name).read_text(encoding="utf-8"))
    made = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    return {"Stacks": [{"StackName": name, "Outputs": made}]}


def put_role_policy(options: Options) -> None:
    """Have moto check the document, for a role that a stack has."""
    (role,), (policy,) = options["role-name"], options["policy-name"]
    stacks = find_file("").parent.glob("*.json")
    known = [each.read_text(encoding="utf-8") for each in stacks]
    assert any(f"role/{role}" in each for each in known), f"{role} is in no stack"
    document = Path(options["policy-document"][0].removeprefix("file://"))
    with mock_aws():
        client = boto3.client("iam")
        trust = {"Version": "2012-10-17", "Statement": []}
        client.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
        text = document.read_text(encoding="utf-8")
        client.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=text)


def find_file(stack: str) -> Path:
    folder = Path(os.environ["AWS_STAND_IN"])
    folder.mkdir(exist_ok=True)
    return folder / f"{stack}.json"


OPERATIONS: Mapping[tuple[str, str], Callable[[Options], Any]] = {
    ("cloudformation", "deploy"): deploy,
    ("cloudformation", "describe-stacks"): describe_stacks,
    ("iam", "put-role-policy"): put_role_policy,
}
