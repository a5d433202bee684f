"""Table and key, created once and completed as often as wanted, on moto and on real servers."""

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from sessions_kms.operations import provisioning
from sessions_kms.operations.provisioning import (
    ATTRIBUTES,
    INDEX,
    ProvisioningError,
    create_key,
    create_table,
)
from tests.sessions_kms.support.stacks import on_aws

pytestmark = [
    on_aws,
    pytest.mark.usefixtures("make_stack"),
]
REGION = "eu-west-1"
HASH_ID = [{"AttributeName": "id", "KeyType": "HASH"}]
ID = {"AttributeName": "id", "AttributeType": "S"}


@pytest.fixture
def dynamodb(make_stack: object) -> Iterator[Any]:
    client = boto3.client("dynamodb", region_name=REGION)
    yield client
    client.close()


@pytest.fixture
def kms(make_stack: object) -> Iterator[Any]:
    client = boto3.client("kms", region_name=REGION)
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    return f"sessions-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def alias() -> str:
    return f"alias/test-{uuid.uuid4().hex[:12]}"


def create_standing_table(client: Any, name: str, **options: Any) -> None:
    """Create a table as somebody else might have."""
    client.create_table(
        **{
            "TableName": name,
            "KeySchema": HASH_ID,
            "AttributeDefinitions": [ID],
            "BillingMode": "PAY_PER_REQUEST",
            **options,
        }
    )


def state(client: Any, name: str) -> dict[str, Any]:
    """Describe all that provisioning is about."""
    table = client.describe_table(TableName=name)["Table"]
    ttl = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    indexes = table.get("GlobalSecondaryIndexes", [])
    return {
        "keys": table["KeySchema"],
        "types": sorted(str(each) for each in table["AttributeDefinitions"]),
        "billing": table["BillingModeSummary"]["BillingMode"],
        "protected": table["DeletionProtectionEnabled"],
        "indexes": [
            {key: index[key] for key in ("IndexName", "KeySchema", "Projection")}
            for index in indexes
        ],
        "ttl": (ttl["TimeToLiveStatus"], ttl.get("AttributeName")),
        "recovery": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
    }


WHOLE = {
    "keys": HASH_ID,
    "types": sorted(str(each) for each in ATTRIBUTES),
    "billing": "PAY_PER_REQUEST",
    "protected": True,
    "indexes": [INDEX],
    "ttl": ("ENABLED", "ttl"),
    "recovery": "ENABLED",
}


def test_new_table_is_configured_as_designed(dynamodb: Any, name: str) -> None:
    done = list(create_table(dynamodb, name))
    assert done == [
        f"created table {name} with deletion protection",
        "enabled TTL on ttl",
        "enabled point-in-time recovery",
    ]
    assert state(dynamodb, name) == WHOLE


def test_second_run_does_nothing(dynamodb: Any, name: str) -> None:
    list(create_table(dynamodb, name))
    assert list(create_table(dynamodb, name)) == []
    assert state(dynamodb, name) == WHOLE


def test_two_runs_at_once_make_one_table(
    dynamodb: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = provisioning.describe_or_none

    def look_too_early(describe: Any) -> Any:
        monkeypatch.setattr(provisioning, "describe_or_none", look)
        list(create_table(dynamodb, name))  # The other run, which is done by then.
        return None

    monkeypatch.setattr(provisioning, "describe_or_none", look_too_early)
    assert list(create_table(dynamodb, name)) == []


def test_bare_table_is_completed(dynamodb: Any, name: str) -> None:
    create_standing_table(dynamodb, name)
    assert list(create_table(dynamodb, name)) == [
        "enabled deletion protection",
        "enabled TTL on ttl",
        "enabled point-in-time recovery",
        "created index by-owner",
    ]
    assert state(dynamodb, name) == WHOLE
    assert list(create_table(dynamodb, name)) == []


@pytest.mark.parametrize(
    ("undo", "done"),
    [
        ("ttl", "enabled TTL on ttl"),
        ("recovery", "enabled point-in-time recovery"),
        ("protection", "enabled deletion protection"),
        ("index", "created index by-owner"),
    ],
)
def test_only_what_is_missing_is_done(dynamodb: Any, name: str, undo: str, done: str) -> None:
    list(create_table(dynamodb, name))
    if undo == "ttl":
        dynamodb.update_time_to_live(
            TableName=name,
            TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"},
        )
    elif undo == "recovery":
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
        )
    elif undo == "protection":
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
    else:
        dynamodb.update_table(
            TableName=name,
            GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-owner"}}],
        )
    assert list(create_table(dynamodb, name)) == [done]
    assert state(dynamodb, name) == WHOLE


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            },
            id="another partition key",
        ),
        pytest.param(
            {
                "KeySchema": [*HASH_ID, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "AttributeDefinitions": [ID, {"AttributeName": "sk", "AttributeType": "S"}],
            },
            id="a sort key",
        ),
        pytest.param(
            {"AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}]},
            id="a number as id",
        ),
    ],
)
def test_table_of_another_key_schema_is_refused_and_left_alone(
    dynamodb: Any, name: str, options: dict[str, Any]
) -> None:
    create_standing_table(dynamodb, name, **options)
    before = state(dynamodb, name)
    with pytest.raises(ProvisioningError, match=r"another key schema.*Choose another name\."):
        list(create_table(dynamodb, name))
    assert state(dynamodb, name) == before


def test_index_of_the_name_with_another_schema_is_refused(dynamodb: Any, name: str) -> None:
    index = INDEX | {"KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}]}
    create_standing_table(
        dynamodb,
        name,
        AttributeDefinitions=[ID, {"AttributeName": "owner", "AttributeType": "S"}],
        GlobalSecondaryIndexes=[index],
    )
    with pytest.raises(ProvisioningError, match=r"by-owner.*Delete the index"):
        list(create_table(dynamodb, name))


def test_ttl_on_another_attribute_is_refused(dynamodb: Any, name: str) -> None:
    create_standing_table(dynamodb, name)
    dynamodb.update_time_to_live(
        TableName=name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"},
    )
    with pytest.raises(ProvisioningError, match=r"on 'expires'. Disable it.*on 'ttl'\."):
        list(create_table(dynamodb, name))


class Unready:
    """A client of AWS, where a new table is not ready for backups for a while."""

    def __init__(self, client: Any, times: int) -> None:
        self._client = client
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_continuous_backups(self, **params: Any) -> Any:
        if self._times:
            self._times -= 1
            raise ClientError(
                {
                    "Error": {
                        "Code": "ContinuousBackupsUnavailableException",
                        "Message": "Backups are being enabled for the table. Please retry later",
                    }
                },
                "UpdateContinuousBackups",
            )
        return self._client.update_continuous_backups(**params)


class Unprotecting:
    """A client of a DynamoDB without deletion protection: it rejects the member, or ignores it."""

    def __init__(self, client: Any, *, rejects: bool) -> None:
        self._client = client
        self._rejects = rejects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_table(self, DeletionProtectionEnabled: bool, **params: Any) -> Any:  # noqa: N803
        return self._client.create_table(**params)

    def describe_table(self, **params: Any) -> Any:
        found = self._client.describe_table(**params)
        found["Table"].pop("DeletionProtectionEnabled", None)
        return found

    def update_table(self, **params: Any) -> Any:
        if "DeletionProtectionEnabled" not in params:
            return self._client.update_table(**params)
        if self._rejects:
            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": "At least one of …"}},
                "UpdateTable",
            )
        return {}


@pytest.mark.parametrize("rejects", [True, False])
def test_dynamodb_without_deletion_protection_is_named_after_all_steps(
    dynamodb: Any, name: str, rejects: bool
) -> None:
    client = Unprotecting(dynamodb, rejects=rejects)
    done: list[str] = []
    fault = r"does not support deletion protection.*Use DynamoDB itself"
    with pytest.raises(ProvisioningError, match=fault):
        done.extend(create_table(client, name))
    assert done[0] == f"created table {name}"
    assert not any("protection" in step for step in done)
    assert state(dynamodb, name) == WHOLE | {"protected": False}


def test_new_table_not_ready_for_backups_is_waited_for(dynamodb: Any, name: str) -> None:
    slept: list[float] = []
    done = list(create_table(Unready(dynamodb, 3), name, sleep=slept.append))
    assert done[-1] == "enabled point-in-time recovery"
    assert slept == [2, 2, 2]
    assert state(dynamodb, name) == WHOLE


def test_table_never_ready_for_backups_is_an_error_after_a_minute(dynamodb: Any, name: str) -> None:
    slept: list[float] = []
    with pytest.raises(ClientError, match="Please retry later"):
        list(create_table(Unready(dynamodb, 1000), name, sleep=slept.append))
    assert sum(slept) == 58


def test_new_key_is_symmetric_customer_managed_and_rotated(kms: Any, alias: str) -> None:
    arn, done = create_key(kms, alias)
    assert done == [f"created key {arn} as {alias}", "enabled rotation of the key every year"]
    key = kms.describe_key(KeyId=alias)["KeyMetadata"]
    assert key["Arn"] == arn
    assert provisioning.key_faults(key) == []
    assert kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]


def test_key_of_the_alias_is_found_again(kms: Any, alias: str) -> None:
    arn, _ = create_key(kms, alias)
    assert create_key(kms, alias) == (arn, [])


def test_rotation_that_was_not_reached_is_completed(kms: Any, alias: str) -> None:
    arn = kms.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName=alias, TargetKeyId=arn)
    assert create_key(kms, alias) == (arn, ["enabled rotation of the key every year"])


@pytest.mark.parametrize("wrong", ["sessions", "alias/", "alias/aws/dynamodb", "alias/a b", ""])
def test_what_cannot_be_an_alias_is_refused_before_a_key_is_made(kms: Any, wrong: str) -> None:
    called: list[str] = []
    kms.meta.events.register("before-call.kms", lambda model, **_: called.append(model.name))
    with pytest.raises(ProvisioningError, match="use alias/NAME"):
        create_key(kms, wrong)
    assert called == []
    create_key(kms, f"alias/test-{uuid.uuid4().hex[:12]}")
    assert "CreateKey" in called


def test_alias_of_a_key_that_cannot_be_used_is_refused(kms: Any, alias: str) -> None:
    arn, _ = create_key(kms, alias)
    kms.disable_key(KeyId=_key_id(arn))
    with pytest.raises(ProvisioningError, match=r"cannot be used: it is Disabled\. Fix it"):
        create_key(kms, alias)


def _key_id(arn: str) -> str:
    return arn.rpartition("/")[2]  # moto takes no ARN here.


def test_key_whose_alias_failed_is_named_so_that_it_is_not_lost(
    kms: Any, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "CreateAlias")

    monkeypatch.setattr(kms, "create_alias", deny)
    with pytest.raises(ProvisioningError, match=r"arn:aws:kms:.* was created, but not its alias"):
        create_key(kms, alias)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"KeyState": "PendingImport"}, "it is PendingImport"),
        ({"KeyState": "PendingDeletion"}, "it is PendingDeletion"),
        (
            {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
            "it is a RSA_2048 key for SIGN_VERIFY",
        ),
        ({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "it is a HMAC_256 key"),
        ({"KeyManager": "AWS"}, "it is managed by AWS"),
    ],
)
def test_faults_of_a_key_are_reported(kms: Any, alias: str, change: Any, fault: str) -> None:
    arn, _ = create_key(kms, alias)
    key = kms.describe_key(KeyId=arn)["KeyMetadata"]
    (told,) = provisioning.key_faults(key | change)
    assert told.startswith(fault)
