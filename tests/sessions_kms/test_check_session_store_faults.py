"""`check_session_store` on stores with a fault each: that fault is what it reports."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.local.kms import policy
from sessions_kms import aws, provisioning
from tests.sessions_kms.checked_store import REGION, Store, client, failed, new_store
from tests.sessions_kms.conftest import MakeStack

pytestmark = pytest.mark.parametrize("make_stack", ["moto", "servers"], indirect=True)
NO_LISTENER = "http://127.0.0.1:9"
NO_KEY = f"arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000"


@pytest.fixture
def store(make_stack: MakeStack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Store:
    # The command's clients are boto's defaults, which try again for seconds.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return new_store(settings)


def set_ttl(store: Store, attribute: str | None) -> None:
    change, name = client("dynamodb").update_time_to_live, store.table
    off = {"Enabled": False, "AttributeName": "ttl"}
    change(TableName=name, TimeToLiveSpecification=off)
    if attribute:
        change(
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
        )


def drop_index(store: Store) -> None:
    client("dynamodb").update_table(
        TableName=store.table,
        GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-owner"}}],
    )


Break = Callable[[Store], object]


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        pytest.param(lambda store: set_ttl(store, None), {"table TTL": "DISABLED"}, id="no TTL"),
        pytest.param(
            lambda store: set_ttl(store, "expires"),
            {"table TTL": "ENABLED on expires"},
            id="TTL on another attribute",
        ),
        pytest.param(drop_index, {"table index": "no index by-owner"}, id="no index"),
    ],
)
def test_what_the_table_lacks_is_the_only_fault(
    store: Store, break_it: Break, fault: dict[str, str]
) -> None:
    break_it(store)
    assert failed() == fault


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
    store.new_table(
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in types.items()
        ],
    )
    faults = failed()
    assert faults["table key schema"] == schema
    assert "canary" in faults


def test_index_of_another_schema_is_found(store: Store) -> None:
    store.new_table(
        KeySchema=provisioning.KEY_SCHEMA,
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("id", "owner")
        ],
        GlobalSecondaryIndexes=[
            provisioning.INDEX | {"KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}]}
        ],
    )
    assert failed()["table index"] == "by-owner: owner (S) HASH"


def test_table_that_is_missing_is_found(store: Store) -> None:
    store.configure(TABLE_NAME="no-such-table")
    faults = failed()
    assert faults["table"] == "no-such-table does not exist"
    assert "ResourceNotFoundException" in faults["canary"]


def test_key_that_is_missing_is_found(store: Store) -> None:
    store.configure(KEY_ID=NO_KEY)
    faults = failed()
    assert faults["kms key"] == f"{NO_KEY} does not exist"
    assert "NotFoundException" in faults["canary"]


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_key_that_is_not_enabled_is_found(
    store: Store, state: str, request: pytest.FixtureRequest
) -> None:
    key_id = store.key.rpartition("/")[2]
    if state == "Disabled":
        client("kms").disable_key(KeyId=key_id)
    else:
        client("kms").schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    faults = failed()
    assert faults.pop("kms key enabled") == state
    if request.node.callspec.params["make_stack"] == "servers":  # moto uses it all the same.
        assert list(faults) == ["canary"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"KeyManager": "AWS"}, {"kms key customer-managed": "managed by AWS"}),
        (
            {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
            {"kms key symmetric": "RSA_2048 for SIGN_VERIFY"},
        ),
        (
            {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
            {"kms key symmetric": "HMAC_256 for GENERATE_VERIFY_MAC"},
        ),
    ],
)
def test_key_of_the_wrong_kind_is_found(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    fault: dict[str, str],
) -> None:
    # No KMS here has keys of these kinds, so one's description is changed on the way.
    made = aws.control_client

    def changing(service: str, region: str | None = None) -> Any:
        found = made(service, region)
        if service == "kms":
            describe = found.describe_key
            found.describe_key = lambda **params: {
                "KeyMetadata": describe(**params)["KeyMetadata"] | change
            }
        return found

    monkeypatch.setattr(aws, "control_client", changing)
    assert failed() == fault


@pytest.mark.parametrize(
    ("service", "names"),
    [("DYNAMODB", ["table", "canary"]), ("KMS", ["kms key", "canary"])],
)
def test_service_that_is_down_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch, service: str, names: list[str]
) -> None:
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", NO_LISTENER)
    faults = failed()
    assert list(faults) == names
    assert faults[names[0]].startswith("EndpointConnectionError: Could not connect to the endpoint")


def test_denied_decrypt_is_found(store: Store, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["make_stack"] == "moto":
        pytest.skip("moto knows no key policies")
    account = store.key.split(":")[4]
    denying = policy.denying(account, "testing", "kms:GenerateDataKey")
    client("kms").put_key_policy(KeyId=store.key, PolicyName="default", Policy=denying)
    faults = failed()
    assert list(faults) == ["canary"]
    assert "AccessDeniedException" in faults["canary"]
