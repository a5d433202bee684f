"""The rights of these credentials: those that the engine needs, and those that it does not.

Each is tried by a call that changes nothing: writes have a condition that is never met, and KMS
operations are dry runs. A right that cannot be tried without using it is not reported.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sessions_kms.aws import kms
from sessions_kms.aws.clock import system_time
from sessions_kms.aws.errors import DENIED, error_name
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.trouble import POLICY, in_time, trouble
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.services import build_kms_keyring
from sessions_kms.storage.queries import OWNER_INDEX

DRY_RUN = "DryRunOperationException"
# Errors that AWS returns only to callers who have the right.
# https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
PERMITTED = frozenset(
    {
        "ConditionalCheckFailedException",
        DRY_RUN,
        "IncorrectKeyException",
        "InvalidCiphertextException",
        "KMSInvalidMacException",
    }
)
# The key cannot be used at all, which is another finding.
UNUSABLE = frozenset({"DisabledException", "KMSInvalidStateException"})

Call = Callable[[], object]


def right_finding(action: str, call: Call, of: str) -> Finding:
    """Return whether AWS allows an action that the engine needs. Raises any other error."""
    return ok(f"right {action}", "allowed") if _is_permitted(call) else _denied(action, of)


def _is_permitted(call: Call) -> bool:
    """Return True or False if AWS allows or denies the call; raise any other error."""
    try:
        in_time(call)
    except Exception as exc:
        kind = _kind(exc)
        if kind in DENIED:
            return False
        if kind not in PERMITTED | UNUSABLE:
            raise
    return True


def _error_of(call: Call) -> str:
    """Return the name of the error, such as that of a KMS that lacks the operation, or ""."""
    try:
        in_time(call)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is not allowed
        return _kind(exc)
    return ""


def _seems_permitted(call: Call) -> bool:
    return _error_of(call) in {"", *PERMITTED}


def dry_run(operation: str, key_id: str, context: Mapping[str, str], **params: object) -> Call:
    """Return a dry run of a KMS operation on a key."""
    return lambda: kms.call_kms(
        operation, key_id, KeyId=key_id, EncryptionContext=dict(context), DryRun=True, **params
    )


def _kind(exc: Exception) -> str:
    cause = exc.__cause__
    return error_name(cause if isinstance(cause, Exception) else exc)


QUERY, GENERATE, DECRYPT = "dynamodb:Query", "kms:GenerateDataKey", "kms:Decrypt"
NEVER = "attribute_exists(id)"  # of an id that no item has
FORGED = bytes(32)  # KMS rejects it as ciphertext only for callers who may decrypt


def table_rights_findings(config: Config, client: Callable[[], Any]) -> Iterator[Finding]:
    """Try each action on the table; stop if DynamoDB is unreachable.

    ``client`` returns its boto client, or raises what creating one raises.
    """
    yield from _run_until_error(_table_checks(client, config.table_name))


def kms_rights_findings(config: Config) -> Iterator[Finding]:
    """Try each action on the keys; stop if KMS is unreachable."""
    yield from _run_until_error(_kms_checks(config))


def _run_until_error(tries: Mapping[str, Callable[[], Finding]]) -> Iterator[Finding]:
    for action, attempt in tries.items():
        try:
            yield attempt()
        except Exception as exc:  # noqa: BLE001 - neither allowed nor denied
            yield trouble(f"right {action}", exc)
            return


def wrapped_data_key(config: Config) -> bytes:
    """Return a data key as KMS wraps it, or a forged one if that is denied."""
    try:
        return run_sync(build_kms_keyring(config).generate(_period(config))).encrypted
    except KMSUnavailable:
        return FORGED


def _period(config: Config) -> int:
    """Return the start of the current key period by this machine's clock."""
    now = int(system_time())
    return now - now % config.period_length


def _table_checks(client: Callable[[], Any], table: str) -> Mapping[str, Callable[[], Finding]]:
    canary = {"id": {"S": f"canary-{secrets.token_hex(16)}"}}
    needed: Mapping[str, Call] = {
        "dynamodb:GetItem": lambda: client().get_item(TableName=table, Key=canary),
        "dynamodb:PutItem": lambda: client().put_item(
            TableName=table, Item=canary, ConditionExpression=NEVER
        ),
        "dynamodb:DeleteItem": lambda: client().delete_item(
            TableName=table, Key=canary, ConditionExpression=NEVER
        ),
    }
    tries = {
        action: partial(right_finding, action, call, f"table {table}")
        for action, call in needed.items()
    }
    return {**tries, QUERY: partial(_query, client, table)}


def _query(client: Callable[[], Any], table: str) -> Finding:
    if _is_permitted(
        lambda: client().query(
            TableName=table,
            IndexName=OWNER_INDEX,
            KeyConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": "canary"}},
            Limit=1,
        )
    ):
        return ok(f"right {QUERY}", "allowed")
    return warning(
        f"right {QUERY}",
        "denied: a user's sessions can neither be listed nor ended",
        f"Grant {QUERY} on the index {OWNER_INDEX} of table {table}. {POLICY}",
    )


def _kms_checks(config: Config) -> Mapping[str, Callable[[], Finding]]:
    ours = build_kms_keyring(config).context(_period(config))
    generate = _generate(config, ours)
    return {
        GENERATE: partial(right_finding, GENERATE, generate, config.key_id),
        DECRYPT: partial(_decrypt, config, ours),
    }


def _decrypt(config: Config, context: Mapping[str, str]) -> Finding:
    blob = wrapped_data_key(config)
    keys = dict.fromkeys([config.key_id, *config.decrypt_key_ids])
    tries = {key: dry_run("decrypt", key, context, CiphertextBlob=blob) for key in keys}
    denied = [key for key, attempt in tries.items() if not _is_permitted(attempt)]
    return _denied(DECRYPT, ", ".join(denied)) if denied else ok(f"right {DECRYPT}", "allowed")


def _denied(action: str, of: str) -> Finding:
    return failing(f"right {action}", f"denied on {of}", f"Grant {action} on it. {POLICY}")


OTHER_CONTEXT = {"purpose": "check_session_store"}  # not the one of sessions
NONE = "none found"


def over_grant_findings(config: Config, client: Callable[[], Any]) -> Iterator[Finding]:
    """Try what the printed policies deny."""
    yield _excess_contexts(config)
    yield _excess_on_key(config)
    yield _excess_on_table(config, client)


def _excess_contexts(config: Config) -> Finding:
    """Check whether the key can be used with another encryption context."""
    blob = wrapped_data_key(config)
    tried: Mapping[str, Call] = {
        "kms:GenerateDataKey": _generate(config, OTHER_CONTEXT),
        "kms:Decrypt": dry_run("decrypt", config.key_id, OTHER_CONTEXT, CiphertextBlob=blob),
    }
    if loose := [action for action, call in tried.items() if _seems_permitted(call)]:
        return warning(
            "over-grant context",
            f"{' and '.join(loose)} with any encryption context",
            "Add the conditions kms:EncryptionContext:purpose and kms:EncryptionContext:namespace"
            f" to the statement that allows it. {POLICY}",
        )
    return ok("over-grant context", NONE)


def _excess_on_key(config: Config) -> Finding:
    """Check which other operations the key allows."""
    key = config.key_id
    partition, account = key.split(":")[1], key.split(":")[4]
    tried: Mapping[str, Call] = {
        "kms:Encrypt": dry_run("encrypt", key, OTHER_CONTEXT, Plaintext=b"canary"),
        "kms:CreateGrant": lambda: kms.call_kms(
            "create_grant",
            key,
            KeyId=key,
            GranteePrincipal=f"arn:{partition}:iam::{account}:root",
            Operations=["DescribeKey"],
            DryRun=True,
        ),
    }
    # A KMS that ignores the flag would create the grant.
    ours = build_kms_keyring(config).context(_period(config))
    knows_dry_runs = _error_of(_generate(config, ours)) == DRY_RUN
    more = [name for name, call in tried.items() if knows_dry_runs and _error_of(call) == DRY_RUN]
    if more:
        return warning(
            "over-grant key",
            f"{' and '.join(more)}, which the engine never calls",
            f"Remove it from the policies of the role and of the key. {POLICY}",
        )
    return ok("over-grant key", NONE)


def _excess_on_table(config: Config, client: Callable[[], Any]) -> Finding:
    """Report the right that operator commands need and the site does not."""
    is_operator = _seems_permitted(
        lambda: client().update_item(
            TableName=config.table_name,
            Key={"id": {"S": f"canary-{secrets.token_hex(16)}"}},
            UpdateExpression="REMOVE canary",
            ConditionExpression=NEVER,
        )
    )
    detail = "dynamodb:UpdateItem: correct for an operator, not for the site"
    return ok("over-grant table", detail if is_operator else NONE)


def _generate(config: Config, context: Mapping[str, str]) -> Call:
    return dry_run("generate_data_key", config.key_id, context, KeySpec="AES_256")
