"""The infrastructure as a Terraform configuration, for all of its Regions at once."""

from collections.abc import Iterator
from typing import Any

from sessions_kms.infrastructure.hcl import Block, Expression, written
from sessions_kms.infrastructure.policies import OPERATOR, ROLES, SERVICE, SERVICE_DEFAULT
from sessions_kms.infrastructure.store import Store
from sessions_kms.infrastructure.terraform_roles import (
    ACCOUNT,
    KEY,
    PARTITION,
    TABLE,
    region_name,
    roles,
    template,
)
from sessions_kms.operations import provisioning
from sessions_kms.storage.table import OWNER_INDEX

# The first of the provider's versions that protects replicas from deletion.
PROVIDER = "~> 6.9"


def configuration(store: Store) -> str:
    """Return the text of the configuration of a store."""
    return written(list(_blocks(store)))


def _blocks(store: Store) -> Iterator[Block]:
    source = {"source": "hashicorp/aws", "version": PROVIDER}
    yield Block("terraform", blocks=(Block("required_providers", arguments={"aws": source}),))
    yield from _variables()
    yield Block("data", ("aws_partition", "here"))
    yield Block("data", ("aws_caller_identity", "here"))
    root = template(f"arn:{PARTITION}:iam::{ACCOUNT}:root")
    yield Block("locals", arguments={"account_root": root})
    yield _table(store)
    yield from _keys(store)
    yield from roles(store)
    yield from _outputs(store)


def _variables() -> Iterator[Block]:
    yield Block(
        "variable",
        ("web_service",),
        {
            "type": Expression("string"),
            "default": SERVICE_DEFAULT,
            "description": SERVICE,
        },
    )
    yield Block(
        "variable",
        ("operator_arn",),
        {
            "type": Expression("string"),
            "default": None,
            "description": f"{OPERATOR}; null: anybody in this account with the right to",
        },
    )


def _table(store: Store) -> Block:
    schema = {key["KeyType"]: key["AttributeName"] for key in provisioning.KEY_SCHEMA}
    arguments: dict[str, Any] = {
        "name": store.table,
        "billing_mode": provisioning.TABLE["BillingMode"],
        "hash_key": schema["HASH"],
        "deletion_protection_enabled": provisioning.TABLE["DeletionProtectionEnabled"],
    }
    if store.replicas:  # What replicates them.
        arguments |= {"stream_enabled": True, "stream_view_type": "NEW_AND_OLD_IMAGES"}
    return Block(
        "resource",
        ("aws_dynamodb_table", "sessions"),
        arguments,
        (
            *_attributes(),
            _index(),
            Block("ttl", (), {"attribute_name": provisioning.TTL_ATTRIBUTE, "enabled": True}),
            Block("point_in_time_recovery", (), {"enabled": True}),
            Block("server_side_encryption", (), {"enabled": True}),
            *_replicas(store),
            _protected(),
        ),
    )


def _attributes() -> Iterator[Block]:
    for each in provisioning.ATTRIBUTES:
        named = {"name": each["AttributeName"], "type": each["AttributeType"]}
        yield Block("attribute", (), named)


def _index() -> Block:
    schema = {key["KeyType"]: key["AttributeName"] for key in provisioning.OWNER_INDEX_SCHEMA}
    return Block(
        "global_secondary_index",
        (),
        {
            "name": OWNER_INDEX,
            "hash_key": schema["HASH"],
            "range_key": schema["RANGE"],
            "projection_type": "KEYS_ONLY",
        },
    )


def _replicas(store: Store) -> Iterator[Block]:
    for region in store.replicas:
        arguments = {
            "region_name": region,
            "point_in_time_recovery": True,
            "deletion_protection_enabled": True,
        }
        yield Block("replica", (), arguments)


def _protected() -> Block:
    return Block("lifecycle", (), {"prevent_destroy": True})


def _keys(store: Store) -> Iterator[Block]:
    common = {
        "description": provisioning.KEY_DESCRIPTION,
        "policy": Expression("data.aws_iam_policy_document.key.json"),
        "tags": {"purpose": "sessions_kms"},
    }
    own = {"enable_key_rotation": True, "multi_region": store.multi_region}
    yield Block("resource", ("aws_kms_key", "sessions"), common | own, (_protected(),))
    yield _alias("sessions", store, KEY)
    for region in store.replicas:
        name = region_name(region)
        there = {"region": region, "primary_key_arn": Expression(f"{KEY}.arn")}
        yield Block("resource", ("aws_kms_replica_key", name), there | common, (_protected(),))
        yield _alias(name, store, f"aws_kms_replica_key.{name}", region=region)


def _alias(name: str, store: Store, key: str, **region: str) -> Block:
    arguments = region | {"name": store.alias, "target_key_id": Expression(f"{key}.key_id")}
    return Block("resource", ("aws_kms_alias", name), arguments)


def _outputs(store: Store) -> Iterator[Block]:
    outputs = {"table_name": f"{TABLE}.name", "key_arn": f"{KEY}.arn"}
    outputs |= {f"{role}_role_arn": f"aws_iam_role.{role}.arn" for role in ROLES}
    outputs |= {
        f"key_arn_{region_name(region)}": f"aws_kms_replica_key.{region_name(region)}.arn"
        for region in store.replicas
    }
    for name, value in outputs.items():
        yield Block("output", (name,), {"value": Expression(value)})
