"""The table and the KMS key, created or completed; every step may be taken again.

Takes AWS clients for setting up and a name, and says what it did.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sessions_kms.aws import error_code, is_client_error

OWNER_INDEX = "by-owner"
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


class ProvisioningError(Exception):
    """What stands under the name cannot become the session table; the message says why."""


def create_table(client: Any, name: str) -> Iterator[str]:
    """Create the table, or complete the one that stands; yield each thing done.

    Raises ProvisioningError.
    """
    table = found(lambda: client.describe_table(TableName=name)["Table"])
    if table is None:
        _create(client, name)
        yield f"created table {name}"
    else:
        yield from _complete(client, table)
    yield from _enable_ttl(client, name)
    yield from _enable_recovery(client, name)


def create_key(client: Any, alias: str) -> tuple[str, bool]:
    """Return the ARN of the KMS key of this alias, and whether it was created now.

    A new key is symmetric, customer-managed and rotated every year.
    """
    key = found(lambda: client.describe_key(KeyId=alias)["KeyMetadata"])
    if key is not None:
        return key["Arn"], False
    key = client.create_key(
        Description="Wraps the data keys of encrypted sessions",
        Tags=[{"TagKey": "purpose", "TagValue": "sessions_kms"}],
    )["KeyMetadata"]
    client.enable_key_rotation(KeyId=key["KeyId"])
    client.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    return key["Arn"], True


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


def _create(client: Any, name: str) -> None:
    client.create_table(
        TableName=name,
        KeySchema=KEY_SCHEMA,
        AttributeDefinitions=ATTRIBUTES,
        GlobalSecondaryIndexes=[INDEX],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 2})


def _complete(client: Any, table: dict[str, Any]) -> Iterator[str]:
    name = table["TableName"]
    if table["KeySchema"] != KEY_SCHEMA:
        raise ProvisioningError(
            f"Table {name} exists with another key schema; sessions need the partition key"
            " 'id' (string) and no sort key. Choose another name."
        )
    if not table.get("DeletionProtectionEnabled"):
        client.update_table(TableName=name, DeletionProtectionEnabled=True)
        yield "enabled deletion protection"
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 2})
    if not any(
        index["IndexName"] == OWNER_INDEX for index in table.get("GlobalSecondaryIndexes", [])
    ):
        client.update_table(
            TableName=name,
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


def _enable_recovery(client: Any, name: str) -> Iterator[str]:
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") == "ENABLED":
        return
    client.update_continuous_backups(
        TableName=name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    yield "enabled point-in-time recovery"
