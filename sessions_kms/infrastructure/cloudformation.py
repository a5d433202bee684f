"""The infrastructure as a CloudFormation template.

It is a dict to be written as JSON: CloudFormation takes it wherever it takes YAML, and it
needs no library. A template for several Regions is one, too: deployed in the home Region it
makes everything, deployed in each other with the key's ARN it makes the key's replica.
"""

from sessions_kms.infrastructure.cloudformation_roles import (
    KEY,
    ROLE_NAMES,
    TABLE,
    Template,
    arn,
    key_policy,
    ref,
    roles,
)
from sessions_kms.infrastructure.policies import OPERATOR, SERVICE, SERVICE_DEFAULT
from sessions_kms.infrastructure.store import Store
from sessions_kms.operations import provisioning

REPLICA_KEY, ALIAS = "SessionsReplicaKey", "Alias"


def template(store: Store) -> Template:
    """Return the template of a store."""
    resources = {
        TABLE: _global_table(store) if store.multi_region else _table(store),
        KEY: _key(store),
        **roles(store),
    }
    made: Template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Encrypted sessions of the namespace {store.namespace}: table, key, roles",
        "Parameters": _parameters(store),
        "Conditions": {"OperatorIsGiven": {"Fn::Not": [_is_empty("OperatorArn")]}},
        "Resources": resources,
        "Outputs": _outputs(),
    }
    if store.multi_region:
        _span_regions(made, store)
    resources[ALIAS] = _alias(store)
    return made


def _parameters(store: Store) -> Template:
    parameters = {
        "WebService": {
            "Type": "String",
            "Default": SERVICE_DEFAULT,
            "Description": SERVICE,
        },
        "OperatorArn": {
            "Type": "String",
            "Default": "",
            "Description": f"{OPERATOR}; empty: anybody in this account with the right to",
        },
    }
    if store.multi_region:
        parameters["PrimaryKeyArn"] = {
            "Type": "String",
            "Default": "",
            "Description": "Empty in the home Region;"
            " in each other, the KeyArn that the stack of the home Region put out",
        }
    return parameters


def _table(store: Store) -> Template:
    properties = provisioning.TABLE | {
        "TableName": store.table,
        "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS"},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "TimeToLiveSpecification": _ttl(),
    }
    return _kept("AWS::DynamoDB::Table", properties)


def _global_table(store: Store) -> Template:
    properties = {
        name: value
        for name, value in provisioning.TABLE.items()
        if name != "DeletionProtectionEnabled"
    } | {
        "TableName": store.table,
        "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS"},
        "TimeToLiveSpecification": _ttl(),
        "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},  # What replicates it.
        "Replicas": [
            {
                "Region": region,
                "DeletionProtectionEnabled": True,
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            }
            for region in [ref("AWS::Region"), *store.replicas]
        ],
    }
    return _kept("AWS::DynamoDB::GlobalTable", properties)


def _ttl() -> Template:
    return {"AttributeName": provisioning.TTL_ATTRIBUTE, "Enabled": True}


def _key(store: Store) -> Template:
    properties = {
        "Description": provisioning.KEY_DESCRIPTION,
        "EnableKeyRotation": True,
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyPolicy": key_policy(store),
        "Tags": [{"Key": "purpose", "Value": "sessions_kms"}],
    }
    if store.multi_region:
        properties["MultiRegion"] = True
    return _kept("AWS::KMS::Key", properties)


def _replica_key(store: Store) -> Template:
    properties = {
        "Description": provisioning.KEY_DESCRIPTION,
        "PrimaryKeyArn": ref("PrimaryKeyArn"),
        "KeyPolicy": key_policy(store),
        "Tags": [{"Key": "purpose", "Value": "sessions_kms"}],
    }
    return _kept("AWS::KMS::ReplicaKey", properties)


def _alias(store: Store) -> Template:
    target = _home_or(ref(KEY), ref(REPLICA_KEY), store)
    return {
        "Type": "AWS::KMS::Alias",
        "Properties": {"AliasName": store.alias, "TargetKeyId": target},
    }


def _kept(kind: str, properties: Template) -> Template:
    """Return a resource that outlives its stack: sessions are lost with it."""
    return {
        "Type": kind,
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }


def _span_regions(made: Template, store: Store) -> None:
    """Let the home Region make all of it, and another one the replica of the key only."""
    made["Conditions"] |= {
        "IsHome": _is_empty("PrimaryKeyArn"),
        "IsAnother": {"Fn::Not": [_is_empty("PrimaryKeyArn")]},
    }
    for part in [*made["Resources"].values(), *made["Outputs"].values()]:
        part["Condition"] = "IsHome"
    made["Resources"][REPLICA_KEY] = _replica_key(store) | {"Condition": "IsAnother"}
    made["Outputs"]["KeyArn"] = {"Value": _home_or(arn(KEY), arn(REPLICA_KEY), store)}


def _outputs() -> Template:
    outputs: Template = {
        "TableName": {"Value": ref(TABLE)},
        "KeyArn": {"Value": arn(KEY)},
    }
    return outputs | {f"{name}Arn": {"Value": arn(name)} for name in ROLE_NAMES.values()}


def _home_or(home: Template, another: Template, store: Store) -> Template:
    return {"Fn::If": ["IsHome", home, another]} if store.multi_region else home


def _is_empty(parameter: str) -> Template:
    return {"Fn::Equals": [ref(parameter), ""]}
