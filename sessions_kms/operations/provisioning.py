"""Creating or completing the table and the KMS key; every step can be repeated."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sessions_kms.aws.errors import error_code, is_client_error
from sessions_kms.concurrency import deadline
from sessions_kms.storage.queries import OWNER_INDEX

NEW_KEY = {"Arn": "(the ARN of the new key)", "KeyId": "(new)"}
READ_ONLY = ("describe_", "get_", "list_")


class DryRunClient:
    """An AWS client for `--dry-run`: it makes only calls that read.

    It remembers what the other calls would have created, for later calls.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._created: dict[str, Mapping[str, Any]] = {}

    @property
    def exceptions(self) -> Any:
        """The exceptions of the real client."""
        return self._client.exceptions

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._client, name) if name.startswith(READ_ONLY) else lambda **_: {}

    def get_waiter(self, name: str) -> Any:
        """Return this client, whose `wait` returns at once."""
        return self

    def wait(self, **_: Any) -> None:
        """Return at once."""

    # DynamoDB

    def create_table(self, **table: Any) -> None:
        self._created[table["TableName"]] = table

    def describe_table(self, TableName: str) -> Any:  # noqa: N803 -- boto's names
        created = self._created.get(TableName)
        return {"Table": created} if created else self._client.describe_table(TableName=TableName)

    def describe_time_to_live(self, TableName: str) -> Any:  # noqa: N803
        if TableName in self._created:
            return {"TimeToLiveDescription": {}}
        return self._client.describe_time_to_live(TableName=TableName)

    def describe_continuous_backups(self, TableName: str) -> Any:  # noqa: N803
        if TableName in self._created:
            return {"ContinuousBackupsDescription": {}}
        return self._client.describe_continuous_backups(TableName=TableName)

    # KMS

    def create_key(self, **_: Any) -> Any:
        return {"KeyMetadata": NEW_KEY}

    def get_key_rotation_status(self, KeyId: str) -> Any:  # noqa: N803
        if KeyId == NEW_KEY["Arn"]:
            return {"KeyRotationEnabled": False}
        return self._client.get_key_rotation_status(KeyId=KeyId)


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
REACHED = 15.0  # seconds for the first call: creating a key may take long, and is not idempotent
UNSUPPORTED = frozenset({"UnknownOperationException", "ValidationException"})
_UNPROTECTED = (
    "Table {} can be used, but this DynamoDB does not support deletion protection: one call deletes"
    " every session. Use DynamoDB itself, or this one for tests only."
)
BACKUP_TRIES = 30  # two seconds apart
UNREADY = "ContinuousBackupsUnavailableException"

# https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html
_ALIAS = re.compile(r"alias/(?!aws/)[a-zA-Z0-9/_-]{1,250}")


class ProvisioningError(Exception):
    """An existing table or key cannot be used; the message gives the reason and the remedy."""


def create_table(
    client: Any, name: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Create the table or complete the existing one; yield each step done.

    Raises ProvisioningError, for a lack of deletion protection after all steps.
    """
    with deadline.call(REACHED):
        found = describe_or_none(lambda: client.describe_table(TableName=name))
    is_new = found is None and _create(client, name)
    _wait(client, name)
    table = client.describe_table(TableName=name)["Table"]
    if is_new:
        is_protected = table.get("DeletionProtectionEnabled")
        yield f"created table {name}" + (" with deletion protection" if is_protected else "")
    _require_fit(table)
    unprotected = None
    try:
        yield from _protect(client, table)
    except ProvisioningError as error:
        unprotected = error
    yield from _enable_ttl(client, name)
    yield from _enable_recovery(client, name, sleep)
    yield from _add_index(client, table)  # last, since filling it may take long
    if unprotected is not None:
        raise unprotected


def create_key(client: Any, alias: str) -> tuple[str, list[str]]:
    """Create the KMS key of this alias unless it exists; return its ARN and the steps done.

    A new key is symmetric, customer-managed and rotated every year. Raises ProvisioningError.
    """
    if not is_alias(alias):
        raise ProvisioningError(
            f"{alias!r} cannot be the alias of a customer-managed key: use alias/NAME, of letters,"
            " digits, '/', '_' and '-', and not alias/aws/..."
        )
    done = []
    with deadline.call(REACHED):
        key = describe_or_none(lambda: client.describe_key(KeyId=alias)["KeyMetadata"])
    if key is None:
        key = _create_key(client, alias)
        done.append(f"created key {key['Arn']} as {alias}")
    elif faults := key_faults(key):
        raise ProvisioningError(
            f"{alias} names the key {key['Arn']}, which cannot be used: {', '.join(faults)}."
            " Fix it, or choose another alias."
        )
    if not client.get_key_rotation_status(KeyId=key["Arn"])["KeyRotationEnabled"]:
        client.enable_key_rotation(KeyId=key["Arn"])
        done.append("enabled rotation of the key every year")
    return key["Arn"], done


def is_alias(name: str) -> bool:
    """Return True if this can be the alias of a customer-managed key."""
    return _ALIAS.fullmatch(name) is not None


def key_faults(key: Mapping[str, Any]) -> list[str]:
    """Return the reasons why a KMS key, as DescribeKey returns it, cannot be used for sessions."""
    faults = []
    if key["KeyState"] != "Enabled":
        faults.append(f"it is {key['KeyState']}")
    if (key.get("KeySpec"), key.get("KeyUsage")) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        faults.append(f"it is a {key.get('KeySpec')} key for {key.get('KeyUsage')}")
    if key["KeyManager"] != "CUSTOMER":
        faults.append(f"it is managed by {key['KeyManager']}")
    return faults


def describe_or_none(describe: Callable[[], Any]) -> Any:
    """Return the result of a describe call, or None if the resource does not exist."""
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
    """Return True if a table, as DescribeTable returns it, has the right key schema."""
    return bool(table["KeySchema"] == KEY_SCHEMA) and _types_fit(table, KEY_SCHEMA)


def owner_index(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the owner index with any schema, or None."""
    indexes = table.get("GlobalSecondaryIndexes", [])
    return next((index for index in indexes if index["IndexName"] == OWNER_INDEX), None)


def owner_index_fits(table: Mapping[str, Any], index: Mapping[str, Any]) -> bool:
    """Return True if an index of this table has the right key schema."""
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
        return False  # Another run was faster.
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
    name = table["TableName"]
    try:
        client.update_table(TableName=name, DeletionProtectionEnabled=True)
    except Exception as exc:
        if not is_client_error(exc) or error_code(exc) not in UNSUPPORTED:
            raise
        raise ProvisioningError(f"{_UNPROTECTED.format(name)} ({exc})") from exc
    _wait(client, name)
    now = client.describe_table(TableName=name)["Table"]
    if "DeletionProtectionEnabled" not in now:
        raise ProvisioningError(_UNPROTECTED.format(name))
    yield "enabled deletion protection"


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
            is_unready = is_client_error(exc) and error_code(exc) == UNREADY
            if tries == BACKUP_TRIES or not is_unready:
                raise
            sleep(WAIT["Delay"])
        else:
            break
    yield "enabled point-in-time recovery"
