"""The checks of `check_session_store`: table, KMS key, and a canary through the real engine.

Each check gives a `Finding`: what was looked at, whether it is right, and if not,
what to do. The canary is an ordinary session with a random value.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from sessions_kms import aws
from sessions_kms.backend import SessionStore
from sessions_kms.conf import Config, config
from sessions_kms.provisioning import (
    TTL_ATTRIBUTE,
    found,
    key_schema_fits,
    owner_index,
    owner_index_fits,
)
from sessions_kms.record import session_id
from sessions_kms.table import OWNER_INDEX

CREATE = "Run manage.py create_session_store."


@dataclass(frozen=True)
class Finding:
    """What one check found. ``remedy`` is empty when all is well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Run every check, each whatever the others found; without settings none can be run."""
    try:
        in_force = config()
    except ImproperlyConfigured as exc:
        yield Finding("settings", False, str(exc), "Correct SESSIONS_KMS in the settings.")
        return
    yield from _guarded("table", lambda: _table(in_force))
    yield from _guarded("kms key", lambda: _key(in_force))
    yield from _guarded("canary", lambda: _canary(in_force))


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as exc:  # noqa: BLE001 - a check that breaks is a finding
        # Our own errors tell little by design; here is their cause, in AWS's words.
        cause = exc.__cause__ or exc
        yield Finding(
            name, False, f"{type(cause).__name__}: {cause}", "See the message of AWS or Django."
        )


def _finding(name: str, ok: bool, detail: str, remedy: str, fault: str = "") -> Finding:
    return Finding(name, ok, detail) if ok else Finding(name, ok, fault or detail, remedy)


def _table(config: Config) -> Iterator[Finding]:
    client = aws.control_client("dynamodb", config.region_name)
    table = found(lambda: client.describe_table(TableName=config.table_name)["Table"])
    if table is None:
        yield Finding("table", False, f"{config.table_name} does not exist", CREATE)
        return
    status = table["TableStatus"]
    yield _finding(
        "table active",
        status in {"ACTIVE", "UPDATING"},
        f"{config.table_name} is {status}",
        "Wait until DynamoDB reports it ACTIVE.",
    )
    yield _finding(
        "table key schema",
        key_schema_fits(table),
        _schema(table, table["KeySchema"]),
        "The partition key must be 'id' (string), with no sort key: use another table.",
    )
    yield _owner_index(table)
    ttl = client.describe_time_to_live(TableName=config.table_name)["TimeToLiveDescription"]
    yield _ttl(ttl.get("TimeToLiveStatus", "DISABLED"), ttl.get("AttributeName"))


def _owner_index(table: Mapping[str, Any]) -> Finding:
    index = owner_index(table)
    if index is None:
        return Finding("table index", False, f"no index {OWNER_INDEX}", CREATE)
    return _finding(
        "table index",
        owner_index_fits(table, index),
        f"{OWNER_INDEX}: {_schema(table, index['KeySchema'])}",
        f"It must be 'owner' (string) and 'createdAt' (number): delete it. {CREATE}",
    )


def _ttl(status: str, attribute: str | None) -> Finding:
    enabled = status in {"ENABLED", "ENABLING"}
    return _finding(
        "table TTL",
        enabled and attribute == TTL_ATTRIBUTE,
        f"{status} on {attribute}" if enabled else status,
        CREATE if not enabled else f"Move TTL from {attribute!r} to {TTL_ATTRIBUTE!r}.",
    )


def _schema(table: Mapping[str, Any], schema: list[dict[str, str]]) -> str:
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    return ", ".join(
        f"{key['AttributeName']} ({types.get(key['AttributeName'])}) {key['KeyType']}"
        for key in schema
    )


def _key(config: Config) -> Iterator[Finding]:
    client = aws.control_client("kms", aws.region_of(config.key_id))
    key = found(lambda: client.describe_key(KeyId=config.key_id)["KeyMetadata"])
    if key is None:
        yield Finding(
            "kms key", False, f"{config.key_id} does not exist", "Set KEY_ID to a key that does."
        )
        return
    yield _finding(
        "kms key enabled",
        key["KeyState"] == "Enabled",
        key["KeyState"],
        "Enable the key, or cancel its deletion: no session can be read without it.",
    )
    yield _finding(
        "kms key symmetric",
        (key.get("KeySpec"), key.get("KeyUsage")) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
        f"{key.get('KeySpec')} for {key.get('KeyUsage')}",
        "Create a symmetric encryption key and set KEY_ID to its ARN.",
    )
    yield _finding(
        "kms key customer-managed",
        key["KeyManager"] == "CUSTOMER",
        f"managed by {key['KeyManager']}",
        "Create a customer-managed key: only its policy is yours to decide.",
    )


def _canary(config: Config) -> Iterator[Finding]:
    value = secrets.token_hex(16)
    store = SessionStore()
    store["canary"] = value
    store.set_expiry(300)  # Should the deletion below fail, DynamoDB deletes it soon.
    store.create()
    key = store.session_key or ""
    yield Finding("canary written", True, "one session")
    try:
        yield _finding(
            "canary read back",
            SessionStore(key).get("canary") == value,
            "the same value",
            "If NOT_BEFORE lies in the future, correct it; else please report this.",
            fault="another value, or no session",
        )
        yield from _raw(config, key, value)
    finally:
        store.delete()
    yield _finding(
        "canary deleted",
        not SessionStore(key).exists(key),
        "gone",
        "Please report this: nobody can sign out.",
        fault="it is still there",
    )


def _raw(config: Config, key: str, value: str) -> Iterator[Finding]:
    client = aws.control_client("dynamodb", config.region_name)
    raw_key = {"id": {"S": session_id(config.namespace, key)}}
    item = client.get_item(TableName=config.table_name, Key=raw_key, ConsistentRead=True)["Item"]
    stored = repr(item).encode() + b"".join(part["B"] for part in item.values() if "B" in part)
    yield _finding(
        "canary is ciphertext",
        value.encode() not in stored and key.encode() not in stored,
        "neither its value nor its session key is in the raw item",
        "Please report this: the engine writes sessions in the clear.",
        fault="its value or its session key is in the raw item",
    )
    data = item["encryptedData"]["B"]
    item["encryptedData"] = {"B": bytes([data[0] ^ 1]) + data[1:]}
    client.put_item(TableName=config.table_name, Item=item)
    yield _finding(
        "canary tampered with is refused",
        SessionStore(key).get("canary") is None,
        "one flipped bit, no session",
        "Please report this: the engine took a record that was changed.",
        fault="one flipped bit, and still a session",
    )
