"""Each fault of a KMS key is provoked, found, and gone when its remedy was applied."""

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from sessions_kms import services
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import (
    REGION,
    Store,
    apply,
    client,
    expect_denial,
    new_key,
    only_trouble,
    proxied,
    troubles,
    without_rotation,
)
from tests.sessions_kms.support.faults import FaultProxy, change_response, error
from tests.support.local_kms import LocalKMS

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
table_proxy = checked_store.table_proxy
NO_KEY = f"arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000"
OTHER_REGION = "eu-central-1"


@pytest.fixture
def proxy(
    store: Store, local_kms: LocalKMS, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    with proxied("KMS", local_kms.url, monkeypatch) as proxy:
        yield proxy


def describe_with(name: str, **members: Any) -> Callable[..., Any]:
    def change(body: bytes) -> bytes:
        response = json.loads(body)
        response[name] |= members
        return json.dumps(response).encode()

    return change_response(change)


def test_key_that_is_not_enabled_is_found_and_enabled_by_the_remedy(store: Store) -> None:
    client("kms").disable_key(KeyId=store.key_id)
    found = troubles(canary=True)
    assert (found["kms key"].level, found["kms key"].detail) == ("failing", "Disabled")
    assert list(found) == ["kms key", "not checked"]
    assert found["not checked"].detail == "data key, canary, sample"
    apply(found["kms key"].remedy)
    assert troubles(canary=True) == {}


def test_key_that_will_be_deleted_is_found(store: Store, proxy: FaultProxy) -> None:
    deleted = describe_with("KeyMetadata", KeyState="PendingDeletion", DeletionDate=1_924_992_000)
    proxy.on("DescribeKey", deleted)
    found = troubles()
    assert (found["kms key"].level, found["kms key"].detail) == (
        "failing",
        "PendingDeletion on 2031-01-01",
    )
    assert re.findall("`aws kms ([a-z-]+) --key-id ([^`]+)`", found["kms key"].remedy) == [
        ("cancel-key-deletion", store.key_id),
        ("enable-key", store.key_id),
    ]


def test_key_in_a_state_that_passes_is_waited_for(proxy: FaultProxy) -> None:
    proxy.on("DescribeKey", describe_with("KeyMetadata", KeyState="Creating"))
    found = troubles()
    assert list(found) == ["kms key", "not checked"]
    assert found["kms key"].detail == "Creating"
    assert "Wait" in found["kms key"].remedy
    proxy.heal()
    assert troubles() == {}


def test_key_that_is_missing_is_found(store: Store) -> None:
    store.configure(KEY_ID=NO_KEY)
    found = troubles(canary=True)
    assert found["kms key"].detail == f"{NO_KEY} does not exist in eu-west-1"
    assert "Set KEY_ID" in found["kms key"].remedy
    assert list(found) == ["kms key", "not checked"]
    assert found["not checked"].detail == (
        "rights on the key, over-grants, data key, canary, sample, waits"
    )
    store.configure(KEY_ID=NO_KEY.replace(REGION, OTHER_REGION))
    found = troubles()
    assert found["kms key"].detail.endswith(
        f"does not exist in {OTHER_REGION}; the session table is in {REGION}"
    )
    assert list(found) == ["kms key", "not checked"], "one cause, one finding"
    store.configure()
    assert troubles() == {}


@pytest.mark.parametrize(
    ("members", "name", "detail"),
    [
        ({"KeyManager": "AWS"}, "kms key manager", "managed by AWS"),
        (
            {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
            "kms key type",
            "RSA_2048 for SIGN_VERIFY",
        ),
        (
            {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
            "kms key type",
            "HMAC_256 for GENERATE_VERIFY_MAC",
        ),
    ],
)
def test_key_of_the_wrong_kind_is_found_and_replaced_as_the_remedy_says(
    store: Store, proxy: FaultProxy, members: dict[str, str], name: str, detail: str
) -> None:
    # No KMS here has keys of these kinds, so one's description is changed on the way.
    wrong = describe_with("KeyMetadata", **members)
    proxy.on("DescribeKey", wrong, matching=store.key.encode())
    found = only_trouble(name, canary=True)
    assert (found.level, found.detail) == ("failing", detail)
    assert "`manage.py create_session_store --create-key`" in found.remedy
    out = StringIO()
    call_command(
        "create_session_store", "--create-key", "--alias", f"alias/{store.table}", "--json",
        stdout=out,
    )  # fmt: skip
    store.key = json.loads(out.getvalue())["key_arn"]
    store.configure()
    client("dynamodb").delete_item(TableName=store.table, Key=the_data_key(store))
    assert troubles() == {}


def the_data_key(store: Store) -> dict[str, Any]:
    (item,) = [item for item in store.items() if item["id"]["S"].startswith("data-key#")]
    return {"id": item["id"]}


def test_rotation_that_is_off_is_found_and_enabled_by_the_remedy(store: Store) -> None:
    store.key = without_rotation()
    store.configure()
    found = only_trouble("kms key rotation")
    assert (found.level, found.detail) == ("warning", "off")
    apply(found.remedy)
    assert troubles() == {}


def test_imported_key_material_is_not_asked_to_rotate(store: Store, proxy: FaultProxy) -> None:
    store.key = without_rotation()
    store.configure()
    proxy.on("DescribeKey", describe_with("KeyMetadata", Origin="EXTERNAL"))
    assert troubles() == {}


@pytest.mark.parametrize(
    ("action", "name"),
    [("kms:DescribeKey", "kms key"), ("kms:GetKeyRotationStatus", "kms key rotation")],
)
def test_right_to_look_that_is_denied_is_a_warning_that_names_it(
    store: Store, proxy: FaultProxy, action: str, name: str
) -> None:
    proxy.on(action.removeprefix("kms:"), error("AccessDeniedException"))
    expect_denial(name, action)
    proxy.heal()
    assert troubles() == {}


def replicate_to(region: str) -> Callable[..., Any]:
    replica = {"RegionName": region, "ReplicaStatus": "ACTIVE"}
    return describe_with("Table", Replicas=[replica])


def test_key_of_one_region_under_a_global_table_is_found(table_proxy: FaultProxy) -> None:
    table_proxy.on("DescribeTable", replicate_to(OTHER_REGION))
    found = only_trouble("kms key Regions")
    assert found.level == "warning"
    assert found.detail.startswith(f"only {REGION}, but")
    table_proxy.heal()
    assert troubles() == {}


def test_multi_region_key_without_a_replica_is_found(
    store: Store, proxy: FaultProxy, table_proxy: FaultProxy
) -> None:
    primary: dict[str, Any] = {"PrimaryKey": {"Region": REGION}}
    proxy.on(
        "DescribeKey",
        describe_with("KeyMetadata", MultiRegion=True, MultiRegionConfiguration=primary),
        times=1,
    )
    table_proxy.on("DescribeTable", replicate_to(OTHER_REGION))
    found = only_trouble("kms key Regions")
    assert found.detail.startswith(f"no replica in {OTHER_REGION}")
    assert found.remedy == (
        f"`aws kms replicate-key --key-id {store.key_id} --replica-region {OTHER_REGION}`"
    )
    replicated = primary | {"ReplicaKeys": [{"Region": OTHER_REGION}]}
    proxy.on(
        "DescribeKey",
        describe_with("KeyMetadata", MultiRegion=True, MultiRegionConfiguration=replicated),
    )
    assert troubles() == {}


def test_previous_key_that_is_disabled_is_found(store: Store) -> None:
    previous = new_key()
    store.configure(DECRYPT_KEY_IDS=[previous])
    assert troubles() == {}
    client("kms").disable_key(KeyId=previous.rpartition("/")[2])
    found = only_trouble("previous kms keys")
    assert found.level == "failing"
    assert found.detail == f"{previous} is Disabled"
    client("kms").enable_key(KeyId=previous.rpartition("/")[2])
    assert troubles() == {}


def test_previous_key_that_is_missing_is_found(store: Store) -> None:
    store.configure(DECRYPT_KEY_IDS=[NO_KEY])
    found = troubles()
    assert found["previous kms keys"].detail == f"{NO_KEY} does not exist in eu-west-1"
    assert "remove it from DECRYPT_KEY_IDS" in found["previous kms keys"].remedy
    store.configure()
    assert troubles() == {}


def test_kms_that_is_down_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
        patched.setattr("botocore.endpoint.time.sleep", lambda _: None)
        services.reset()
        found = troubles()
    assert found["kms key"].detail.startswith("EndpointConnectionError: Could not connect")
    assert list(found) == ["kms key", "not checked"]
    services.reset()
    assert troubles() == {}
