"""The roles of a CloudFormation template, and what in it says who may use the key."""

from typing import Any

from sessions_kms.infrastructure.policies import (
    ADMIN,
    DOCTOR,
    ROLES,
    WEB,
    Resources,
    document,
    key_statements,
    role_statements,
)
from sessions_kms.infrastructure.store import Store
from sessions_kms.storage.table import OWNER_INDEX

TABLE, KEY = "SessionsTable", "SessionsKey"
ROLE_NAMES = {WEB: "WebRole", ADMIN: "AdminRole", DOCTOR: "DoctorRole"}

Template = dict[str, Any]


def roles(store: Store) -> Template:
    """Return the roles by their names in the template."""
    return {name: _role(role, store) for role, name in ROLE_NAMES.items()}


def key_policy(store: Store) -> Template:
    """Return the policy of the key, and of its replicas."""
    # By name: the stacks of other Regions have no role to refer to.
    named = {role: _iam_arn(f"role/{store.role_name(role)}") for role in ROLES}
    return document(key_statements(store, account=_iam_arn("root"), roles=named))


def ref(name: str) -> Template:
    """Refer to a resource or a parameter of the template."""
    return {"Ref": name}


def arn(name: str) -> Template:
    """Refer to the ARN of a resource of the template."""
    return {"Fn::GetAtt": [name, "Arn"]}


def _role(role: str, store: Store) -> Template:
    operator = {"Fn::If": ["OperatorIsGiven", ref("OperatorArn"), _iam_arn("root")]}
    principal = {"Service": ref("WebService")} if role == WEB else {"AWS": operator}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    policy = document(role_statements(role, store, _arns(store)))
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": store.role_name(role),
            "Description": f"{store.table}: {ROLES[role]}",
            "AssumeRolePolicyDocument": document([trust]),
            "Policies": [{"PolicyName": "sessions", "PolicyDocument": policy}],
        },
    }


def _arns(store: Store) -> Resources:
    there = [
        _sub(f"arn:${{AWS::Partition}}:dynamodb:{region}:${{AWS::AccountId}}:table/${{{TABLE}}}")
        for region in store.replicas
    ]
    keys = [
        _sub(f"arn:${{AWS::Partition}}:kms:{region}:${{AWS::AccountId}}:key/${{{KEY}}}")
        for region in store.replicas
    ]
    index = f"/index/{OWNER_INDEX}"
    return Resources(
        tables=[arn(TABLE), *there],
        indexes=[
            _sub(f"${{{TABLE}.Arn}}{index}"),
            *(_sub(table["Fn::Sub"] + index) for table in there),
        ],
        keys=[arn(KEY), *keys],
        old_keys=store.old_keys,
    )


def _sub(text: str) -> Template:
    return {"Fn::Sub": text}


def _iam_arn(resource: str) -> Template:
    return _sub(f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:{resource}")
