"""The table: its schema, its settings, and its protection against loss."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

from sessions_kms.aws import clients, kms
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import (
    KEY_SCHEMA,
    TABLE,
    Finding,
    Level,
    failing,
    ok,
    warning,
)
from sessions_kms.doctor.trouble import CREATE, ELSEWHERE, TABLE_NAME, in_time, report_errors
from sessions_kms.operations.provisioning import (
    TTL_ATTRIBUTE,
    describe_or_none,
    key_schema_fits,
    owner_index,
    owner_index_fits,
)
from sessions_kms.storage.queries import OWNER_INDEX

Description = Mapping[str, Any]


class TableCheck:
    """The checks of the table. ``replicas`` are the Regions of a global table, if known."""

    def __init__(self, config: Config) -> None:
        self.replicas: list[str] = []
        self._name = config.table_name
        self._region_name = config.region_name
        self._key_id = config.key_id

    def findings(self) -> Iterator[Finding]:
        """Run all of them."""
        for finding in self._describe():
            yield finding
            if finding.level is Level.FAILING and finding.name in {TABLE, KEY_SCHEMA}:
                return  # Nothing else is known of it, or matters.
        yield from self._ttl()
        yield from self._recovery()

    @cached_property
    def _client(self) -> Any:
        return clients.control_client("dynamodb", self._region_name)

    @report_errors("table", needs="dynamodb:DescribeTable")
    def _describe(self) -> Iterator[Finding]:
        describe = partial(self._client.describe_table, TableName=self._name)
        table = describe_or_none(lambda: in_time(describe)["Table"])
        if table is None:
            region, home = self._client.meta.region_name, kms.region_of(self._key_id)
            apart = "" if region == home else f"; the KMS key is in {home}"
            yield failing("table", f"{self._name} does not exist in {region}{apart}", ELSEWHERE)
            return
        self.replicas = [replica["RegionName"] for replica in table.get("Replicas", [])]
        yield _status(table)
        yield _key_schema(table)
        yield _index(table)
        yield _billing(table)
        yield _encryption(table)
        yield _deletion_protection(table)
        yield _replicas(table)

    @report_errors("table TTL", needs="dynamodb:DescribeTimeToLive")
    def _ttl(self) -> Iterator[Finding]:
        response = in_time(partial(self._client.describe_time_to_live, TableName=self._name))
        ttl = response["TimeToLiveDescription"]
        status, attribute = ttl.get("TimeToLiveStatus", "DISABLED"), ttl.get("AttributeName")
        if status not in {"ENABLED", "ENABLING"}:
            yield failing("table TTL", f"{status}: items are never deleted", CREATE)
        elif attribute != TTL_ATTRIBUTE:
            yield failing(
                "table TTL",
                f"{status} on {attribute}, not on {TTL_ATTRIBUTE}",
                f"Disable TTL on {attribute}, wait an hour (AWS allows one change per hour),"
                f" then: {CREATE}",
            )
        else:
            yield ok("table TTL", f"{status} on {attribute}")

    @report_errors("table recovery", needs="dynamodb:DescribeContinuousBackups")
    def _recovery(self) -> Iterator[Finding]:
        response = in_time(partial(self._client.describe_continuous_backups, TableName=self._name))
        recovery = response["ContinuousBackupsDescription"].get(
            "PointInTimeRecoveryDescription", {}
        )
        status = recovery.get("PointInTimeRecoveryStatus", "DISABLED")
        if status == "ENABLED":
            yield ok("table recovery", "to any point in time")
        else:
            yield warning("table recovery", "point-in-time recovery is off", CREATE)


def _status(table: Description) -> Finding:
    name, status = table["TableName"], table["TableStatus"]
    if status in {"ACTIVE", "UPDATING"}:
        return ok("table", f"{name} is {status}")
    if status == "INACCESSIBLE_ENCRYPTION_CREDENTIALS":
        remedy = "Enable the KMS key that encrypts the table, or let DynamoDB use it again."
    else:
        remedy = "Wait until DynamoDB reports it ACTIVE."
    return failing("table", f"{name} is {status}", remedy)


def _key_schema(table: Description) -> Finding:
    schema = _schema(table, table["KeySchema"])
    if key_schema_fits(table):
        return ok("table key schema", schema)
    return failing(
        "table key schema",
        schema,
        "The partition key must be 'id' (string), without a sort key:"
        f" set {TABLE_NAME} to another table. {CREATE}",
    )


def _index(table: Description) -> Finding:
    index = owner_index(table)
    if index is None:
        return failing("table index", f"no index {OWNER_INDEX}", CREATE)
    detail = f"{OWNER_INDEX}: {_schema(table, index['KeySchema'])}"
    if not owner_index_fits(table, index):
        return failing(
            "table index",
            detail,
            f"Its key must be 'owner' (string) and 'createdAt' (number): delete it. {CREATE}",
        )
    if (status := index.get("IndexStatus", "ACTIVE")) not in {"ACTIVE", "UPDATING"}:
        return warning(
            "table index",
            f"{OWNER_INDEX} is {status}: some of a user's sessions cannot be found",
            "Wait until DynamoDB reports it ACTIVE.",
        )
    return ok("table index", detail)


def _billing(table: Description) -> Finding:
    mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if mode == "PAY_PER_REQUEST":
        return ok("table billing", "on demand")
    return warning(
        "table billing",
        "capacity is provisioned: traffic above it gets 503",
        f"`aws dynamodb update-table --table-name {table['TableName']}"
        " --billing-mode PAY_PER_REQUEST`",
    )


def _encryption(table: Description) -> Finding:
    sse = table.get("SSEDescription", {})
    if "InaccessibleEncryptionDateTime" in sse:
        return failing(
            "table encryption",
            f"DynamoDB cannot use the KMS key that encrypts the table: {sse.get('Status')}",
            "Enable that key or let DynamoDB use it again: after seven days the table is archived.",
        )
    if sse.get("SSEType") == "KMS" and sse.get("Status") in {"ENABLED", "ENABLING", "UPDATING"}:
        return ok("table encryption", "at rest, with a KMS key of the account")
    return warning(
        "table encryption",
        "at rest, with a key that AWS owns: no log shows its use",
        f"`aws dynamodb update-table --table-name {table['TableName']}"
        " --sse-specification Enabled=true,SSEType=KMS`",
    )


def _deletion_protection(table: Description) -> Finding:
    if table.get("DeletionProtectionEnabled"):
        return ok("table deletion protection", "on")
    return warning("table deletion protection", "off: one call deletes every session", CREATE)


def _replicas(table: Description) -> Finding:
    replicas = table.get("Replicas", [])
    waiting = [
        f"{each['RegionName']} is {each.get('ReplicaStatus')}"
        for each in replicas
        if each.get("ReplicaStatus") != "ACTIVE"
    ]
    if waiting:
        return warning(
            "table replicas",
            ", ".join(waiting),
            "Wait until DynamoDB reports them ACTIVE, and do not fail over before that.",
        )
    regions = ", ".join(each["RegionName"] for each in replicas)
    return ok("table replicas", f"in {regions}" if replicas else "none: one Region")


def _schema(table: Description, schema: list[dict[str, str]]) -> str:
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    return ", ".join(
        f"{key['AttributeName']} ({types.get(key['AttributeName'])}) {key['KeyType']}"
        for key in schema
    )
