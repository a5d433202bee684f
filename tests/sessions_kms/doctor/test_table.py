"""Each fault of a table is provoked, found alone, and gone when its remedy was applied."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sessions_kms import checks
from sessions_kms.doctor import trouble
from sessions_kms.operations import provisioning
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import (
    REGION,
    Store,
    apply,
    client,
    expect_denial,
    only_trouble,
    troubles,
)
from tests.sessions_kms.support.faults import FaultProxy, change_response, error, hold_exchange
from tests.sessions_kms.support.stacks import on_aws

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
proxy = checked_store.table_proxy


def set_ttl(store: Store, attribute: str | None) -> None:
    change, name = client("dynamodb").update_time_to_live, store.table
    change(TableName=name, TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"})
    if attribute:
        change(
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
        )


def update_table(store: Store, **change: Any) -> None:
    client("dynamodb").update_table(TableName=store.table, **change)


def drop_index(store: Store) -> None:
    update_table(store, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-owner"}}])


def stop_recovery(store: Store) -> None:
    client("dynamodb").update_continuous_backups(
        TableName=store.table,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )


def provision(store: Store) -> None:
    capacity = {"ReadCapacityUnits": 100, "WriteCapacityUnits": 100}
    update_table(store, BillingMode="PROVISIONED", ProvisionedThroughput=capacity)


FAULTS: dict[str, tuple[Callable[[Store], object], str, str]] = {
    "table TTL": (lambda store: set_ttl(store, None), "failing", "DISABLED: items are never"),
    "table deletion protection": (
        lambda store: update_table(store, DeletionProtectionEnabled=False), "warning", "off",
    ),
    "table recovery": (stop_recovery, "warning", "point-in-time recovery is off"),
    "table billing": (provision, "warning", "capacity is provisioned"),
}  # fmt: skip


@on_aws
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_the_only_one_and_its_remedy_fixes_it(store: Store, name: str) -> None:
    break_it, level, detail = FAULTS[name]
    break_it(store)
    found = only_trouble(name)
    assert found.level == level
    assert found.detail.startswith(detail)
    apply(found.remedy)
    assert troubles() == {}


@on_aws
def test_missing_table_is_found_and_created_by_its_remedy(store: Store) -> None:
    store.configure(TABLE_NAME=f"{store.table}-missing")
    found = troubles(canary=True)
    assert found["table"].detail == f"{store.table}-missing does not exist in {REGION}"
    assert found["table"].remedy.startswith(
        "Correct TABLE_NAME (the gateway: SESSIONS_TABLE) and the Region."
        " If there never was a table: run "
    )
    assert list(found) == ["table", "not checked"]
    assert found["not checked"].detail == (
        "rights on the table, over-grants, data key, not-before, canary, sample, waits"
    )
    apply(found["table"].remedy)
    assert troubles(canary=True) == {}


@on_aws
def test_missing_index_is_found_and_created_by_its_remedy(store: Store) -> None:
    drop_index(store)
    found = troubles(canary=True)
    assert list(found) == ["table index", "not checked"]
    assert found["not checked"].detail == "right dynamodb:Query, canary index"
    assert found["table index"].detail == "no index by-owner"
    apply(found["table index"].remedy)
    assert troubles(canary=True) == {}


@on_aws
def test_index_of_another_schema_is_found(store: Store) -> None:
    options: dict[str, Any] = {
        "KeySchema": provisioning.KEY_SCHEMA,
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in ("id", "owner")
        ],
        "GlobalSecondaryIndexes": [
            provisioning.INDEX | {"KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}]}
        ],
    }
    store.new_table(**options)
    found = troubles()["table index"]
    assert found.detail == "by-owner: owner (S) HASH"
    assert "delete it" in found.remedy
    drop_index(store)
    apply(found.remedy)
    assert "table index" not in troubles()


@on_aws
def test_ttl_on_another_attribute_is_found(store: Store) -> None:
    set_ttl(store, "expires")
    found = only_trouble("table TTL")
    assert found.detail == "ENABLED on expires, not on ttl"
    client("dynamodb").update_time_to_live(
        TableName=store.table,
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires"},
    )
    apply(found.remedy)
    assert troubles() == {}


@servers  # moto keeps no change of the encryption
def test_table_that_somebody_else_made_is_completed_by_the_remedies(store: Store) -> None:
    options: dict[str, Any] = {
        "KeySchema": provisioning.KEY_SCHEMA,
        "AttributeDefinitions": provisioning.ATTRIBUTES[:1],
    }
    store.new_table(**options)
    found = troubles()
    assert {name for name in found if name.startswith("table")} == {
        "table index",
        "table encryption",
        "table deletion protection",
        "table TTL",
        "table recovery",
    }
    for each in found.values():
        if "`aws" in each.remedy or each.level == "failing":
            apply(each.remedy)
    assert troubles() == {}


@on_aws
@pytest.mark.parametrize(
    ("keys", "types", "schema"),
    [
        ({"id": "HASH"}, {"id": "N"}, "id (N) HASH"),
        ({"pk": "HASH"}, {"pk": "S"}, "pk (S) HASH"),
        ({"id": "HASH", "sk": "RANGE"}, {"id": "S", "sk": "S"}, "id (S) HASH, sk (S) RANGE"),
    ],
)
def test_another_key_schema_is_found(
    store: Store, keys: dict[str, str], types: dict[str, str], schema: str
) -> None:
    good = store.table
    store.new_table(
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in types.items()
        ],
    )
    found = troubles(canary=True)
    assert list(found) == ["table key schema", "not checked"]
    assert found["table key schema"].detail == schema
    assert found["not checked"].detail == (
        "rights on the table, over-grants, data key, not-before, canary, sample, waits"
    )
    store.configure(TABLE_NAME=f"{good}-third")
    apply(found["table key schema"].remedy)
    assert troubles(canary=True) == {}


# What no engine here shows by itself is changed in its responses, on their way.


def describe_with(**members: Any) -> Any:
    def change(body: bytes) -> bytes:
        response = json.loads(body)
        response["Table"] |= members
        return json.dumps(response).encode()

    return change_response(change)


INACCESSIBLE = {
    "Status": "ENABLED",
    "SSEType": "KMS",
    "InaccessibleEncryptionDateTime": 1_700_000_000,
}


@servers
@pytest.mark.parametrize(
    ("members", "found_as"),
    [
        ({"TableStatus": "CREATING"}, ("table", "failing", "is CREATING")),
        (
            {"TableStatus": "INACCESSIBLE_ENCRYPTION_CREDENTIALS"},
            ("table", "failing", "is INACCESSIBLE_ENCRYPTION_CREDENTIALS"),
        ),
        (
            {"SSEDescription": INACCESSIBLE},
            ("table encryption", "failing", "cannot use the KMS key"),
        ),
        (
            {
                "GlobalSecondaryIndexes": [
                    {**provisioning.INDEX, "IndexStatus": "CREATING"},
                ]
            },
            ("table index", "warning", "by-owner is CREATING"),
        ),
        (
            {"Replicas": [{"RegionName": "eu-west-1", "ReplicaStatus": "CREATING"}]},
            ("table replicas", "warning", "eu-west-1 is CREATING"),
        ),
    ],
)
def test_state_that_passes_is_found_and_then_gone(
    proxy: FaultProxy, members: dict[str, Any], found_as: tuple[str, str, str]
) -> None:
    name, level, detail = found_as
    proxy.on("DescribeTable", describe_with(**members))
    found = troubles()
    assert list(found) == [name, *(["not checked"] if name == "table" else [])]
    assert found[name].level == level
    assert detail in found[name].detail
    proxy.heal()
    assert troubles() == {}


@servers
@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("DescribeTable", "table"),
        ("DescribeTimeToLive", "table TTL"),
        ("DescribeContinuousBackups", "table recovery"),
        ("Scan", "sample format"),
    ],
)
def test_right_to_look_that_is_denied_is_a_warning_that_names_it(
    proxy: FaultProxy, operation: str, name: str
) -> None:
    proxy.on(operation, error("AccessDeniedException"))
    expect_denial(name, f"dynamodb:{operation}")
    proxy.heal()
    assert troubles() == {}


@servers
def test_table_that_is_down_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    store.configure()
    found = troubles()
    assert found["table"].detail.startswith("EndpointConnectionError: Could not connect")
    assert "AWS_ENDPOINT_URL" in found["table"].remedy
    assert list(found) == ["table", "not checked"]


@servers
def test_hanging_table_is_found_in_time_and_delays_nothing_else(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "CALL", 0.5)
    proxy.on("DescribeTable", hold_exchange)
    proxy.on("GetItem", hold_exchange)
    found = troubles()
    assert list(found) == ["table", "not checked"]
    assert found["table"].detail == "AWS did not respond in time"
    assert proxy.operations == ["DescribeTable", "GetItem"]


@servers
def test_region_that_the_key_is_not_in_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.configure(REGION_NAME="us-east-2")
    found = troubles()
    both = f"{store.table} does not exist in us-east-2; the KMS key is in eu-west-1"
    assert found["table"].detail == both
    assert "the Region" in found["table"].remedy
    assert (list(found), found["not checked"].detail[:7]) == (["table", "not checked"], "Regions")
    store.configure()
    apart = SimpleNamespace(find_region=lambda _: "us-east-2")
    monkeypatch.setattr(checks, "clients", apart)
    found = troubles()
    assert found["sessions_kms.W012"].detail == (
        "The KMS key is in eu-west-1, and the session table in us-east-2: an outage of either"
        " Region stops sessions."
    )
    assert "KMS_KEY_ARN" in found["sessions_kms.W012"].remedy
