"""The table and the KMS key, created or completed; every step may be taken again.

Takes AWS clients for setting up and a name, and says what it did.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sessions_kms.aws.calls import error_code, is_client_error
from sessions_kms.storage.table import OWNER_INDEX

TTL_ATTRIBUTE = "ttl"
DEFAULT_ALIAS = "alias/sessions-kms"
KEY_SCHEMA = [{"AttributeName": "id", "KeyType": "HASH"}]
OWNER_INDEX_SCHEMA = [
    {"AttributeName": "owner", "KeyType": "HASH"},
    {"AttributeName": "createdAt", "KeyType": "RANGE"},
]
ATTRIBUTES = [
    {"AttributeName": "id", "AttributeType": "S"},
    {"AttributeName": "owner", "AttributeType": "S"},
    {"AttributeName": "createdAt", "AttributeType": "N"},
]
INDEX = {
    "IndexName": OWNER_INDEX,
    "KeySchema": OWNER_INDEX_SCHEMA,
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}
TABLE: dict[str, Any] = {
    "KeySchema": KEY_SCHEMA,
    "AttributeDefinitions": ATTRIBUTES,
    "GlobalSecondaryIndexes": [INDEX],
    "BillingMode": "PAY_PER_REQUEST",
    "DeletionProtectionEnabled": True,
}
KEY_DESCRIPTION = "Wraps the data keys of encrypted sessions"
WAIT = {"Delay": 2, "MaxAttempts": 90}  # seconds, times: a table takes up to some minutes
BACKUP_TRIES = 30  # two seconds apart

# https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html
_ALIAS = re.compile(r"alias/(?!aws/)[a-zA-Z0-9/_-]{1,250}")


class ProvisioningError(Exception):
    """What stands under the name cannot be used; the message says why and what to do."""


def create_table(
    client: Any, name: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Create the table, or complete the one that stands; yield each thing done.

    Raises ProvisioningError.
    """
    if found(lambda: client.describe_table(TableName=name)) is None and _create(client, name):
        yield f"created table {name} with deletion protection"
    _wait(client, name)
    table = client.describe_table(TableName=name)["Table"]
    _require_fit(table)
    yield from _protect(client, table)
    yield from _enable_ttl(client, name)
    yield from _enable_recovery(client, name, sleep)
    yield from _add_index(client, table)  # last: filling it may take long, and the rest can be used


def create_key(client: Any, alias: str) -> tuple[str, list[str]]:
    """Return the ARN of the KMS key of this alias, created if there is none, and what was done.

    A new key is symmetric, customer-managed and rotated every year. Raises ProvisioningError.
    """
    if not is_alias(alias):
        raise ProvisioningError(
            f"{alias!r} is not the alias of a key of yours: use alias/NAME, of letters, digits,"
            " '/', '_' and '-', and not alias/aws/..."
        )
    done = []
    key = found(lambda: client.describe_key(KeyId=alias)["KeyMetadata"])
    if key is None:
        key = _create_key(client, alias)
        done.append(f"created key {key['Arn']} as {alias}")
    elif faults := key_faults(key):
        raise ProvisioningError(
            f"{alias} names the key {key['Arn']}, which cannot be used: {', '.join(faults)}."
            " Mend it, or choose another alias."
        )
    if not client.get_key_rotation_status(KeyId=key["Arn"])["KeyRotationEnabled"]:
        client.enable_key_rotation(KeyId=key["Arn"])
        done.append("enabled rotation of the key every year")
    return key["Arn"], done


def is_alias(name: str) -> bool:
    """Tell whether this can be the alias of a customer's key."""
    return _ALIAS.fullmatch(name) is not None


def key_faults(key: Mapping[str, Any]) -> list[str]:
    """Return why a KMS key, as DescribeKey tells it, is not one to seal sessions with."""
    faults = []
    if key["KeyState"] != "Enabled":
        faults.append(f"it is {key['KeyState']}")
    if (key.get("KeySpec"), key.get("KeyUsage")) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        faults.append(f"it is a {key.get('KeySpec')} key for {key.get('KeyUsage')}")
    if key["KeyManager"] != "CUSTOMER":
        faults.append(f"it is managed by {key['KeyManager']}")
    return faults


def found(describe: Callable[[], Any]) -> Any:
    """Return what a describing call answers, None where AWS knows no such thing."""
    try:
        return describe()
    except Exception as exc:
        if is_client_error(exc) and error_code(exc) in {
            "NotFoundException",
            "ResourceNotFoundException",
        }:
            return None
        raise


def key_schema_fits(table: Mapping[str, Any]) -> bool:
    """Tell whether a table, as DescribeTable tells it, has the key of the sessions."""
    return bool(table["KeySchema"] == KEY_SCHEMA) and _types_fit(table, KEY_SCHEMA)


def owner_index(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the index of owners, whatever its schema."""
    indexes = table.get("GlobalSecondaryIndexes", [])
    return next((index for index in indexes if index["IndexName"] == OWNER_INDEX), None)


def owner_index_fits(table: Mapping[str, Any], index: Mapping[str, Any]) -> bool:
    """Tell whether an index of this table is by owner and creation."""
    return bool(index["KeySchema"] == OWNER_INDEX_SCHEMA) and _types_fit(table, OWNER_INDEX_SCHEMA)


def _types_fit(table: Mapping[str, Any], schema: list[dict[str, str]]) -> bool:
    names = [key["AttributeName"] for key in schema]
    wanted = [attribute for attribute in ATTRIBUTES if attribute["AttributeName"] in names]
    return all(attribute in table["AttributeDefinitions"] for attribute in wanted)


def _create(client: Any, name: str) -> bool:
    try:
        client.create_table(
            TableName=name, **TABLE, SSESpecification={"Enabled": True, "SSEType": "KMS"}
        )
    except client.exceptions.ResourceInUseException:
        return False  # Another run of this was faster.
    return True


def _create_key(client: Any, alias: str) -> Any:
    key = client.create_key(
        KeySpec="SYMMETRIC_DEFAULT",
        KeyUsage="ENCRYPT_DECRYPT",
        Description=KEY_DESCRIPTION,
        Tags=[{"TagKey": "purpose", "TagValue": "sessions_kms"}],
    )["KeyMetadata"]
    try:
        client.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    except Exception as exc:
        raise ProvisioningError(
            f"The key {key['Arn']} was created, but not its alias {alias}: {exc} Create the alias"
            " or schedule the key's deletion; running this again would create another key."
        ) from exc
    return key


def _wait(client: Any, name: str) -> None:
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig=WAIT)


def _require_fit(table: Mapping[str, Any]) -> None:
    name = table["TableName"]
    if not key_schema_fits(table):
        raise ProvisioningError(
            f"Table {name} exists with another key schema; sessions need the partition key"
            " 'id' (string) and no sort key. Choose another name."
        )
    index = owner_index(table)
    if index is not None and not owner_index_fits(table, index):
        raise ProvisioningError(
            f"Index {OWNER_INDEX} of table {name} has another key schema; sessions need 'owner'"
            " (string) and 'createdAt' (number). Delete the index, and run this again."
        )


def _protect(client: Any, table: Mapping[str, Any]) -> Iterator[str]:
    if table.get("DeletionProtectionEnabled"):
        return
    client.update_table(TableName=table["TableName"], DeletionProtectionEnabled=True)
    yield "enabled deletion protection"
    _wait(client, table["TableName"])


def _add_index(client: Any, table: Mapping[str, Any]) -> Iterator[str]:
    if owner_index(table) is not None:
        return
    client.update_table(
        TableName=table["TableName"],
        AttributeDefinitions=ATTRIBUTES,
        GlobalSecondaryIndexUpdates=[{"Create": INDEX}],
    )
    yield f"created index {OWNER_INDEX}"


def _enable_ttl(client: Any, name: str) -> Iterator[str]:
    ttl = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    status, attribute = ttl.get("TimeToLiveStatus"), ttl.get("AttributeName")
    if status in {"ENABLED", "ENABLING"}:
        if attribute != TTL_ATTRIBUTE:
            raise ProvisioningError(
                f"TTL of table {name} is on {attribute!r}. Disable it, wait an hour (AWS allows"
                f" one change an hour), and run this again: it belongs on {TTL_ATTRIBUTE!r}."
            )
        return
    client.update_time_to_live(
        TableName=name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
    )
    yield f"enabled TTL on {TTL_ATTRIBUTE}"


def _enable_recovery(client: Any, name: str, sleep: Callable[[float], None]) -> Iterator[str]:
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") == "ENABLED":
        return
    for tries in range(1, BACKUP_TRIES + 1):
        try:
            client.update_continuous_backups(
                TableName=name,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        except Exception as exc:
            # A table that was just created is not ready for backups yet, though it is ACTIVE.
            # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateContinuousBackups.html
            if tries == BACKUP_TRIES or not _not_ready(exc):
                raise
            sleep(WAIT["Delay"])
        else:
            break
    yield "enabled point-in-time recovery"


def _not_ready(exc: Exception) -> bool:
    return is_client_error(exc) and error_code(exc) == "ContinuousBackupsUnavailableException"
