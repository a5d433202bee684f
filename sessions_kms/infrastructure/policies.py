"""The IAM policy of each role, and the policy of the KMS key.

ARNs and the encryption context are passed in the form of the template's language: as texts, or as
references. Each action is one that the code calls; a test runs the code under these policies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sessions_kms.aws.kms import MAC_ALGORITHM
from sessions_kms.data_keys.keyring import PURPOSE
from sessions_kms.storage.queries import OWNER_INDEX

WEB, ADMIN, DOCTOR, AUDITOR = "web", "admin", "doctor", "auditor"
ROLES = {
    WEB: "serves the site",
    ADMIN: "runs the commands for operators, and Django's admin where it lists sessions",
    DOCTOR: "runs check_session_store",
}
AUDIT_ROLES = {AUDITOR: "runs verify_audit"}  # of a store with an HMAC key

Statement = dict[str, Any]

MAC_CONDITION = {"StringEquals": {"kms:MacAlgorithm": MAC_ALGORITHM}}

# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-administrators
# without CreateGrant: a grant could give anybody the use of the key, with any context.
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
# An HMAC key is not rotated automatically.
_AUDIT_KEY_ADMINISTRATION = [each for each in _KEY_ADMINISTRATION if "Rotat" not in each]
_MULTI_REGION_ADMINISTRATION = ["kms:ReplicateKey", "kms:UpdatePrimaryRegion"]


@dataclass(frozen=True, kw_only=True)
class Store:
    """One store and its names. ``replicas`` are the Regions besides the home Region.

    ``old_keys`` are the ARNs of previous KMS keys. With ``audit`` there is an HMAC key as well, in
    the home Region.
    """

    table: str
    namespace: str
    alias: str
    encryption_context: Mapping[str, str] = field(default_factory=dict)
    old_keys: tuple[str, ...] = ()
    multi_region: bool = False
    replicas: tuple[str, ...] = ()
    audit: bool = False

    @property
    def context(self) -> dict[str, Any]:
        """Return the encryption context of the data keys, without the period, escaped for IAM."""
        own = {name: _literal(value) for name, value in self.encryption_context.items()}
        return {"purpose": PURPOSE, "namespace": self.namespace, **own}


@dataclass(frozen=True)
class Resources:
    """The ARNs that policies name, of every Region; the last two may be empty."""

    tables: Sequence[Any]
    indexes: Sequence[Any]
    keys: Sequence[Any]
    old_keys: Sequence[Any] = ()
    audit_keys: Sequence[Any] = ()


def resources_of(
    store: Store, *, key: str, account: str, region: str, audit_key: str | None = None
) -> Resources:
    """Return the ARNs of an existing table and its keys.

    ``key`` is the ARN of the KMS key; account and Region are the table's.
    """
    partition = key.split(":")[1]
    tables = [
        f"arn:{partition}:dynamodb:{each}:{account}:table/{store.table}"
        for each in dict.fromkeys([region, *store.replicas])
    ]
    return Resources(
        tables=tables,
        indexes=[f"{table}/index/{OWNER_INDEX}" for table in tables],
        keys=list(dict.fromkeys([key, *(_replica_key(key, each) for each in store.replicas)])),
        old_keys=store.old_keys,
        audit_keys=[audit_key] if audit_key else [],
    )


def _replica_key(key: str, region: str) -> str:
    """Return the ARN of a multi-Region key's replica: its key id is the same everywhere."""
    before, account, resource = key.rsplit(":", 2)
    return f"{before.rpartition(':')[0]}:{region}:{account}:{resource}"


def roles_of(*, audit: bool) -> dict[str, str]:
    """Return the roles of a store, each with what it does."""
    return ROLES | AUDIT_ROLES if audit else ROLES


def role_policy(role: str, context: Mapping[str, Any], arns: Resources) -> dict[str, Any]:
    """Return the policy document of a role.

    Every role includes the permissions of the site, except the auditor's: it decrypts nothing.
    """
    if role == AUDITOR:
        return _document([*_auditor(arns)])
    more = {WEB: (), ADMIN: _admin(context, arns), DOCTOR: _doctor(arns)}
    return _document([*_web(context, arns), *more[role]])


def key_policy(
    context: Mapping[str, Any], *, account: Any, roles: Mapping[str, Any], multi_region: bool
) -> dict[str, Any]:
    """Return the policy document of the key.

    ``account`` is the ARN of the account's root, ``roles`` has the ARN of each role. The
    account administers the key; only the roles use it, and only for sessions of this store.
    An IAM policy must grant the same: the principal of a statement is the account.
    """
    administration = sorted(
        [*_KEY_ADMINISTRATION, *(_MULTI_REGION_ADMINISTRATION if multi_region else [])]
    )
    return _document(
        [
            _of_key("KeyAdministration", account, administration),
            _of_key("DataKeys", account, ["kms:GenerateDataKey", "kms:Decrypt"])
            | {"Condition": _equals(context) | _principals(_users_of(roles))},
            _of_key("MovingKeys", account, ["kms:ReEncryptFrom", "kms:ReEncryptTo"])
            | {"Condition": _equals(context) | _principals([roles[ADMIN]])},
        ]
    )


def audit_key_policy(*, account: Any, roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy document of the HMAC key.

    Who can make MACs cannot verify them, and the reverse; ``roles`` has the auditor's too.
    """
    return _document(
        [
            _of_key("KeyAdministration", account, _AUDIT_KEY_ADMINISTRATION),
            _of_key("Checkpoints", account, ["kms:GenerateMac"])
            | {"Condition": MAC_CONDITION | _principals(_users_of(roles))},
            _of_key("VerifyingCheckpoints", account, ["kms:VerifyMac"])
            | {"Condition": MAC_CONDITION | _principals([roles[AUDITOR]])},
        ]
    )


def _users_of(roles: Mapping[str, Any]) -> list[Any]:
    """Return the ARNs of the roles that use the store."""
    return [arn for role, arn in roles.items() if role != AUDITOR]


def _document(statements: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _web(context: Mapping[str, Any], arns: Resources) -> Iterator[Statement]:
    yield _allow(
        "SessionItems",
        ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"],
        arns.tables,
    )
    yield _allow("SessionsOfOneUser", ["dynamodb:Query"], arns.indexes)
    condition = {"Condition": _equals(context)}
    yield _allow("DataKeys", ["kms:GenerateDataKey", "kms:Decrypt"], arns.keys) | condition
    if arns.old_keys:
        yield _allow("PreviousDataKeys", ["kms:Decrypt"], arns.old_keys) | condition
    if arns.audit_keys:
        audit = {"Condition": MAC_CONDITION}
        yield _allow("Checkpoints", ["kms:GenerateMac"], arns.audit_keys) | audit


def _auditor(arns: Resources) -> Iterator[Statement]:
    audit = {"Condition": MAC_CONDITION}
    yield _allow("ReadingItems", ["dynamodb:GetItem"], arns.tables)
    yield _allow("ListingWriters", ["dynamodb:Query"], arns.indexes)
    yield _allow("VerifyingCheckpoints", ["kms:VerifyMac"], arns.audit_keys) | audit


def _admin(context: Mapping[str, Any], arns: Resources) -> Iterator[Statement]:
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
        # ReEncrypt is authorized for both keys, each with its own encryption context.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awskeymanagementservice.html
        condition = {"Condition": _equals(context)}
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
    if arns.audit_keys:
        yield _allow("LookingAtTheAuditKey", ["kms:DescribeKey"], arns.audit_keys)


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
        "Resource": "*",  # In a key policy this is the key.
    }


def _equals(context: Mapping[str, Any]) -> dict[str, Any]:
    return {"StringEquals": {f"kms:EncryptionContext:{name}": context[name] for name in context}}


def _principals(roles: Any) -> dict[str, Any]:
    return {"ArnEquals": {"aws:PrincipalArn": _one_or_all(list(roles))}}


def _literal(value: str) -> str:
    """Escape text that IAM would read as a policy variable."""
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
    return value.replace("${", "${$}{")


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)
