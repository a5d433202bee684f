"""Who may do what: the IAM policy of each role, and the policy of the KMS key.

Takes a store, and ARNs as the language of a template writes them: texts, or references.
Each action is one that the code calls; a test runs the code under these policies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sessions_kms.infrastructure.store import Store

WEB, ADMIN, DOCTOR = "web", "admin", "doctor"
ROLES = {
    WEB: "serves the site",
    ADMIN: "runs the commands for operators, and Django's admin where it lists sessions",
    DOCTOR: "runs check_session_store",
}

SERVICE = "The AWS service that the site runs on: it assumes the web role"
SERVICE_DEFAULT = "ecs-tasks.amazonaws.com"
OPERATOR = "Who assumes the roles admin and doctor (an IAM ARN)"

Statement = dict[str, Any]

# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-administrators
# without CreateGrant: a grant would open the key to anybody, whatever the context.
_KEY_ADMINISTRATION = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:Describe*",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:Get*",
    "kms:List*",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
]
_MULTI_REGION_ADMINISTRATION = ["kms:ReplicateKey", "kms:UpdatePrimaryRegion"]


@dataclass(frozen=True)
class Resources:
    """The ARNs that policies name, of every Region; ``old_keys`` may be empty."""

    tables: Sequence[Any]
    indexes: Sequence[Any]
    keys: Sequence[Any]
    old_keys: Sequence[Any] = ()


def role_statements(role: str, store: Store, arns: Resources) -> list[Statement]:
    """Return the statements of a role's policy; every role may do what the site may."""
    more = {WEB: (), ADMIN: _admin(store, arns), DOCTOR: _doctor(arns)}
    return [*_web(store, arns), *more[role]]


def document(statements: Sequence[Statement]) -> dict[str, Any]:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def key_statements(store: Store, *, account: Any, roles: dict[str, Any]) -> list[Statement]:
    """Return the statements of the key's policy.

    ``account`` is the ARN of the account's root, ``roles`` has the ARN of each role. The
    account administers the key; only the roles use it, and only for sessions of this store.
    An IAM policy must grant the same: the principal of a statement is the account.
    """
    administration = sorted(
        [*_KEY_ADMINISTRATION, *(_MULTI_REGION_ADMINISTRATION if store.multi_region else [])]
    )
    return [
        _of_key("KeyAdministration", account, administration),
        _of_key("DataKeys", account, ["kms:GenerateDataKey", "kms:Decrypt"])
        | {"Condition": _context(store) | _principals(roles.values())},
        _of_key("MovingKeys", account, ["kms:ReEncryptFrom", "kms:ReEncryptTo"])
        | {"Condition": _context(store) | _principals([roles[ADMIN]])},
    ]


def _web(store: Store, arns: Resources) -> Iterator[Statement]:
    yield _allow(
        "SessionItems",
        ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"],
        arns.tables,
    )
    yield _allow("SessionsOfOneUser", ["dynamodb:Query"], arns.indexes)
    condition = {"Condition": _context(store)}
    yield _allow("DataKeys", ["kms:GenerateDataKey", "kms:Decrypt"], arns.keys) | condition
    if arns.old_keys:
        yield _allow("PreviousDataKeys", ["kms:Decrypt"], arns.old_keys) | condition


def _admin(store: Store, arns: Resources) -> Iterator[Statement]:
    yield _allow(
        "WholeTable",
        [
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
            "dynamodb:DescribeTable",
            "dynamodb:DescribeTimeToLive",
        ],
        arns.tables,
    )
    if arns.old_keys:
        # ReEncrypt is authorised once on each side, each by the encryption context of its side.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awskeymanagementservice.html
        condition = {"Condition": _context(store)}
        yield _allow("MovingKeysFrom", ["kms:ReEncryptFrom"], arns.old_keys) | condition
        yield _allow("MovingKeysTo", ["kms:ReEncryptTo"], arns.keys) | condition


def _doctor(arns: Resources) -> Iterator[Statement]:
    yield _allow(
        "LookingAtTheTable",
        [
            "dynamodb:Scan",
            "dynamodb:DescribeTable",
            "dynamodb:DescribeTimeToLive",
            "dynamodb:DescribeContinuousBackups",
        ],
        arns.tables,
    )
    yield _allow(
        "LookingAtTheKeys",
        ["kms:DescribeKey", "kms:GetKeyRotationStatus"],
        [*arns.keys, *arns.old_keys],
    )


def _allow(sid: str, actions: list[str], resources: Sequence[Any]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": _one_or_all(actions),
        "Resource": _one_or_all(resources),
    }


def _of_key(sid: str, account: Any, actions: list[str]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": account},
        "Action": actions,
        "Resource": "*",  # In the policy of a key: the key.
    }


def _context(store: Store) -> dict[str, Any]:
    return {
        "StringEquals": {
            f"kms:EncryptionContext:{name}": _literal(value)
            for name, value in store.context.items()
        }
    }


def _principals(roles: Any) -> dict[str, Any]:
    return {"ArnEquals": {"aws:PrincipalArn": _one_or_all(list(roles))}}


def _literal(value: str) -> str:
    """Keep IAM from reading a policy variable into a text."""
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
    return value.replace("${", "${$}{")


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)
