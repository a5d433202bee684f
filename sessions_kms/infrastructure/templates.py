"""The infrastructure of a store as a CloudFormation template and as a Terraform configuration.

`stack.yaml` and `main.tf` are Django templates in this package. Names are parameters of the
templates, and this module fills in their defaults. It also fills in the parts that a parameter
cannot express: the replica Regions, and the policies, whose conditions contain the names of the
encryption context.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.template import Context, Engine

from sessions_kms.infrastructure.policies import (
    Resources,
    Store,
    audit_key_policy,
    key_policy,
    role_policy,
    roles_of,
)
from sessions_kms.storage.queries import OWNER_INDEX

ROLE_PREFIX_MAX = 56  # of the 64 characters of a role's name: "-auditor" is the longest suffix
INDEX = f"/index/{OWNER_INDEX}"
# In a str.format template "{{" is one brace.
CLOUDFORMATION_ARN = "arn:${{AWS::Partition}}:{}:{}:${{AWS::AccountId}}:{}"
TERRAFORM_ARN = (
    "arn:${{data.aws_partition.here.partition}}:{}:{}"
    ":${{data.aws_caller_identity.here.account_id}}:{}"
)


def render_cloudformation(store: Store) -> str:
    """Return the text of a CloudFormation template.

    With replicas it is one template for all Regions: deployed in the home Region it creates
    everything, deployed elsewhere with the key's ARN it creates the replica of the key.
    """
    context = {**store.context, "namespace": {"Ref": "Namespace"}}
    arns = _cloudformation_arns(store)
    account = _sub("iam", "", "root")
    # By name: the stacks of other Regions have no role to refer to.
    names = roles_of(audit=store.audit)
    roles = {role: _sub("iam", "", f"role/${{RolePrefix}}-{role}") for role in names}
    keys = _key_policies(store, context, account, roles)
    policies = {role: role_policy(role, context, arns) for role in names}
    return _render("stack.yaml", store, keys, policies, indent=10)


def render_terraform(store: Store) -> str:
    """Return the text of a Terraform configuration, which covers all Regions at once."""
    context = {_escape_hcl(name): _escape_hcl(value) for name, value in store.context.items()}
    context["namespace"] = "${var.namespace}"
    arns = _terraform_arns(store)
    account = "${local.account_root}"
    names = roles_of(audit=store.audit)
    roles = {role: f"${{aws_iam_role.{role}.arn}}" for role in names}
    keys = _key_policies(store, context, account, roles)
    policies = {role: role_policy(role, context, arns) for role in names}
    return _render("main.tf", store, keys, policies, indent=2)


def _key_policies(
    store: Store, context: Mapping[str, Any], account: Any, roles: Mapping[str, Any]
) -> dict[str, Any]:
    key = key_policy(context, account=account, roles=roles, multi_region=store.multi_region)
    audit = audit_key_policy(account=account, roles=roles) if store.audit else None
    return {"key_policy": key} | ({"audit_key_policy": audit} if audit else {})


def _cloudformation_arns(store: Store) -> Resources:
    table = "table/${SessionsTable}"
    tables = [_sub("dynamodb", region, table) for region in store.replicas]
    indexes = [_sub("dynamodb", region, table + INDEX) for region in store.replicas]
    keys = [_sub("kms", region, "key/${SessionsKey}") for region in store.replicas]
    return Resources(
        tables=[{"Fn::GetAtt": ["SessionsTable", "Arn"]}, *tables],
        indexes=[{"Fn::Sub": "${SessionsTable.Arn}" + INDEX}, *indexes],
        keys=[{"Fn::GetAtt": ["SessionsKey", "Arn"]}, *keys],
        old_keys=store.old_keys,
        audit_keys=[{"Fn::GetAtt": ["AuditKey", "Arn"]}] if store.audit else [],
    )


def _sub(service: str, region: str, resource: str) -> dict[str, str]:
    return {"Fn::Sub": CLOUDFORMATION_ARN.format(service, region, resource)}


def _terraform_arns(store: Store) -> Resources:
    table = "table/${aws_dynamodb_table.sessions.name}"
    tables = [
        "${aws_dynamodb_table.sessions.arn}",
        *(TERRAFORM_ARN.format("dynamodb", region, table) for region in store.replicas),
    ]
    replica_keys = [f"aws_kms_replica_key.{each['name']}" for each in _replicas(store.replicas)]
    return Resources(
        tables=tables,
        indexes=[arn + INDEX for arn in tables],
        keys=[f"${{{key}.arn}}" for key in ["aws_kms_key.sessions", *replica_keys]],
        old_keys=store.old_keys,
        audit_keys=["${aws_kms_key.audit.arn}"] if store.audit else [],
    )


def _replicas(regions: Iterable[str]) -> list[dict[str, str]]:
    """Return Regions, each with its name as an identifier of HCL."""
    return [{"region": region, "name": region.replace("-", "_")} for region in regions]


def _render(
    name: str, store: Store, keys: Mapping[str, Any], policies: Mapping[str, Any], *, indent: int
) -> str:
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    # A line with only a tag must not become an empty line.
    template = Engine().from_string(re.sub(r"(?m)^(\{[%#].*[%#]\})\n", r"\1", text))
    roles = [
        {"name": role, "description": what, "policy": _json(policies[role], indent)}
        for role, what in roles_of(audit=store.audit).items()
    ]
    values = {
        "store": store,
        "role_prefix": store.table[:ROLE_PREFIX_MAX],
        "replicas": _replicas(store.replicas),
        "roles": roles,
    } | {name: _json(policy, indent) for name, policy in keys.items()}
    return template.render(Context(values, autoescape=False))


def _json(policy: Mapping[str, Any], indent: int) -> str:
    """Return a policy as JSON, which is valid in YAML and in HCL expressions."""
    return json.dumps(policy, indent=2, ensure_ascii=False).replace("\n", "\n" + " " * indent)


def _escape_hcl(text: str) -> str:
    """Escape text that Terraform would evaluate as an expression."""
    return text.replace("${", "$${").replace("%{", "%%{")
