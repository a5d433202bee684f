"""The rights that the engine needs, each tried once.

Every write states a condition that nothing meets, so that nothing is written.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from sessions_kms.aws import clients
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.rights.trying import Call, asking, is_permitted
from sessions_kms.doctor.trouble import POLICY, trouble
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.services import build_kms_keyring
from sessions_kms.storage.table import OWNER_INDEX

QUERY, GENERATE, DECRYPT = "dynamodb:Query", "kms:GenerateDataKey", "kms:Decrypt"
NEVER = "attribute_exists(id)"  # of an id that nothing has
FORGED = bytes(32)  # no ciphertext: who may decrypt is told so


def table_rights_findings(config: Config) -> Iterator[Finding]:
    """Try each action on the table; where DynamoDB does not answer, the others are left out."""
    client = cache(lambda: clients.dynamodb_client(config.region_name))
    yield from _until_broken(_of_table(client, config.table_name))


def kms_rights_findings(config: Config) -> Iterator[Finding]:
    """Try each action on the keys; where KMS does not answer, the others are left out."""
    yield from _until_broken(_of_kms(config))


def _until_broken(tries: Mapping[str, Callable[[], Finding]]) -> Iterator[Finding]:
    for action, attempt in tries.items():
        try:
            yield attempt()
        except Exception as exc:  # noqa: BLE001 - neither allowed nor denied
            yield trouble(f"right {action}", exc)
            return


def wrapped_data_key(config: Config) -> bytes:
    """Return a data key of our own as KMS wrapped it, or a forged one where that is refused."""
    try:
        return run_sync(build_kms_keyring(config).generate(0)).encrypted
    except KMSUnavailable:
        return FORGED


def _of_table(client: Callable[[], Any], table: str) -> Mapping[str, Callable[[], Finding]]:
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
        action: partial(_needed, action, call, f"table {table}") for action, call in needed.items()
    }
    return {**tries, QUERY: partial(_query, client, table)}


def _query(client: Callable[[], Any], table: str) -> Finding:
    if is_permitted(
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
        "denied: the sessions of a person can be neither listed nor ended",
        f"Grant {QUERY} on the index {OWNER_INDEX} of table {table}. {POLICY}",
    )


def _of_kms(config: Config) -> Mapping[str, Callable[[], Finding]]:
    ours = build_kms_keyring(config).context(0)
    generate = asking("generate_data_key", config.key_id, ours, KeySpec="AES_256")
    return {
        GENERATE: partial(_needed, GENERATE, generate, config.key_id),
        DECRYPT: partial(_decrypt, config, ours),
    }


def _decrypt(config: Config, context: Mapping[str, str]) -> Finding:
    blob = wrapped_data_key(config)
    keys = dict.fromkeys([config.key_id, *config.decrypt_key_ids])
    denied = [
        key
        for key in keys
        if not is_permitted(asking("decrypt", key, context, CiphertextBlob=blob))
    ]
    return _denied(DECRYPT, ", ".join(denied)) if denied else ok(f"right {DECRYPT}", "allowed")


def _needed(action: str, call: Call, of: str) -> Finding:
    return ok(f"right {action}", "allowed") if is_permitted(call) else _denied(action, of)


def _denied(action: str, of: str) -> Finding:
    return failing(f"right {action}", f"denied on {of}", f"Grant {action} on it. {POLICY}")
