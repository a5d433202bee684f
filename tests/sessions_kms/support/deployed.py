"""The printed CloudFormation template, deployed in moto, with its roles' policies enforced."""

import ast
import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from django.core.management import call_command
from moto import mock_aws
from moto.kms.models import kms_backends

from sessions_kms import services
from sessions_kms.conf import Config
from sessions_kms.services import Services
from tests.sessions_kms.support.iam import ACCOUNT, Enforcement
from tests.sessions_kms.support.stacks import REGION, install
from tests.support.clock import FakeClock


def run_and_print(*options: str) -> str:
    """Return the output of the command."""
    out = io.StringIO()
    call_command("session_store_template", *options, stdout=out, no_color=True)
    return out.getvalue()


def template(*options: str) -> dict[str, Any]:
    """Return the CloudFormation template as plain objects, with short forms expanded."""
    from cfnlint.decode import cfn_yaml  # half a second, which every worker would take

    read: dict[str, Any] = json.loads(json.dumps(cfn_yaml.loads(printed_yaml(*options))))
    return read


def printed_yaml(*options: str) -> str:
    return run_and_print("--format", "cloudformation", *options)


@dataclass(frozen=True)
class Deployed:
    """A deployed stack, by its outputs."""

    table: str
    outputs: dict[str, str]

    @property
    def key(self) -> str:
        return self.outputs["KeyArn"]

    def role(self, role: str) -> Enforcement:
        """Return the role with its own policy and the key's, as deployed."""
        iam = boto3.client("iam", region_name=REGION)
        name = f"{self.table}-{role}"
        policy: Any = iam.get_role_policy(RoleName=name, PolicyName="sessions")["PolicyDocument"]
        if isinstance(policy, str):  # moto's CloudFormation stores the text of a Python dict.
            policy = ast.literal_eval(policy)
        kms = boto3.client("kms", region_name=REGION)
        key_policy = kms.get_key_policy(KeyId=self.key, PolicyName="default")["Policy"]
        arn = iam.get_role(RoleName=name)["Role"]["Arn"]
        return Enforcement(arn, policy, json.loads(key_policy))

    def serve_as(self, role: str, clock: FakeClock, **config: Any) -> tuple[Enforcement, Services]:
        """Install the engine with the permissions of a role."""
        enforced = self.role(role)
        enforced.install()
        made = Config(
            **{
                "key_id": self.key,
                "table_name": self.table,
                "region_name": REGION,
                "namespace": "gateway",
                **config,
            }
        )
        wired = services.build(made, clock=clock, sleep=lambda _: None)
        install(wired)
        return enforced, wired


@contextmanager
def deploying(monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[Deployed]:
    """Deploy the template of a new table in moto."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    table = f"sessions-{uuid.uuid4().hex[:12]}"
    made = template("--table", table, "--namespace", "gateway", *options)
    # moto reads a key's tags in KMS's format, which CloudFormation does not accept.
    del made["Resources"]["SessionsKey"]["Properties"]["Tags"]
    with mock_aws():
        client = boto3.client("cloudformation", region_name=REGION)
        client.create_stack(
            StackName=table,
            TemplateBody=json.dumps(made),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        (stack,) = client.describe_stacks(StackName=table)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        _keep_policy_as_text(outputs["KeyArn"])
        yield Deployed(table, outputs)


def _keep_policy_as_text(key: str) -> None:
    """Fix moto's CloudFormation, which stores an object where KMS stores text."""
    made = kms_backends[ACCOUNT][REGION].keys[key.rpartition("/")[2]]
    made.policy = json.dumps(made.policy)
