"""The roles of a Terraform configuration, and the documents of their policies and the key's."""

from collections.abc import Iterator

from sessions_kms.infrastructure.hcl import Block, Expression
from sessions_kms.infrastructure.policies import (
    ROLES,
    WEB,
    Resources,
    Statement,
    key_statements,
    role_statements,
)
from sessions_kms.infrastructure.store import Store
from sessions_kms.storage.table import OWNER_INDEX

TABLE, KEY = "aws_dynamodb_table.sessions", "aws_kms_key.sessions"
PARTITION = "${data.aws_partition.here.partition}"
ACCOUNT = "${data.aws_caller_identity.here.account_id}"


def roles(store: Store) -> Iterator[Block]:
    """Yield the roles, and all policy documents."""
    yield _document("key", _key_statements(store))
    for role in ROLES:
        yield from _role(role, store)


def region_name(region: str) -> str:
    """Return a Region as a name in the configuration."""
    return region.replace("-", "_")


def template(text: str) -> Expression:
    """Return a text in which references are filled in."""
    return Expression(f'"{text}"')


def _role(role: str, store: Store) -> Iterator[Block]:
    yield _document(f"{role}_trust", [_trust(role)])
    yield Block(
        "resource",
        ("aws_iam_role", role),
        {
            "name": store.role_name(role),
            "description": f"{store.table}: {ROLES[role]}",
            "assume_role_policy": Expression(f"data.aws_iam_policy_document.{role}_trust.json"),
        },
    )
    yield _document(role, role_statements(role, store, _arns(store)))
    yield Block(
        "resource",
        ("aws_iam_role_policy", role),
        {
            "name": "sessions",
            "role": Expression(f"aws_iam_role.{role}.id"),
            "policy": Expression(f"data.aws_iam_policy_document.{role}.json"),
        },
    )


def _trust(role: str) -> Statement:
    operator = Expression("coalesce(var.operator_arn, local.account_root)")
    principal = {"Service": Expression("var.web_service")} if role == WEB else {"AWS": operator}
    return {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}


def _key_statements(store: Store) -> list[Statement]:
    named = {role: Expression(f"aws_iam_role.{role}.arn") for role in ROLES}
    return key_statements(store, account=Expression("local.account_root"), roles=named)


def _arns(store: Store) -> Resources:
    there = [
        f"arn:{PARTITION}:dynamodb:{region}:{ACCOUNT}:table/${{{TABLE}.name}}"
        for region in store.replicas
    ]
    index = f"/index/{OWNER_INDEX}"
    replicas = [f"aws_kms_replica_key.{region_name(region)}" for region in store.replicas]
    return Resources(
        tables=[Expression(f"{TABLE}.arn"), *map(template, there)],
        indexes=[
            template(f"${{{TABLE}.arn}}{index}"),
            *(template(table + index) for table in there),
        ],
        keys=[Expression(f"{key}.arn") for key in [KEY, *replicas]],
        old_keys=store.old_keys,
    )


def _document(name: str, statements: list[Statement]) -> Block:
    blocks = tuple(_statement(each) for each in statements)
    return Block("data", ("aws_iam_policy_document", name), blocks=blocks)


def _statement(statement: Statement) -> Block:
    arguments = {
        name: value if isinstance(value, list) else [value]
        for name, value in {
            "actions": statement["Action"],
            "resources": statement.get("Resource", []),
        }.items()
        if value
    }
    sid = {"sid": statement["Sid"]} if "Sid" in statement else {}
    blocks = (*_principals(statement), *_conditions(statement))
    return Block("statement", (), sid | arguments, blocks)  # Its effect is Allow by default.


def _principals(statement: Statement) -> Iterator[Block]:
    for kind, identifier in statement.get("Principal", {}).items():
        yield Block("principals", (), {"type": kind, "identifiers": [identifier]})


def _conditions(statement: Statement) -> Iterator[Block]:
    for test, variables in statement.get("Condition", {}).items():
        for variable, value in variables.items():
            values = value if isinstance(value, list) else [value]
            yield Block("condition", (), {"test": test, "variable": variable, "values": values})
