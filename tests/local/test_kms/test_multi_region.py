"""Multi-Region keys: one key id and material in several Regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.local.test_kms.clients import (
    DAY,
    OTHER_REGION,
    REGION,
    Connect,
    fails,
    state,
)
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


@pytest.fixture
def primary(kms: KMSClient) -> str:
    return kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]


@pytest.fixture
def replica(kms: KMSClient, primary: str) -> str:
    answer = kms.replicate_key(KeyId=primary, ReplicaRegion=OTHER_REGION)
    return answer["ReplicaKeyMetadata"]["Arn"]


def test_a_blob_opens_in_either_region(
    connect: Connect, kms: KMSClient, primary: str, replica: str
) -> None:
    there = connect(OTHER_REGION)
    context = {"a": "b"}
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    opened = there.decrypt(CiphertextBlob=blob, KeyId=replica, EncryptionContext=context)
    assert (opened["KeyId"], opened["Plaintext"]) == (replica, b"x")
    assert there.decrypt(CiphertextBlob=blob, EncryptionContext=context)["KeyId"] == replica
    with fails("InvalidCiphertextException"):
        there.decrypt(CiphertextBlob=blob, KeyId=replica)
    back = there.encrypt(KeyId=replica, Plaintext=b"y")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=back, KeyId=primary)["Plaintext"] == b"y"


def test_a_replica_shares_key_id_and_material_but_not_the_rest(
    connect: Connect, kms: KMSClient, primary: str
) -> None:
    answer = kms.replicate_key(
        KeyId=primary,
        ReplicaRegion=OTHER_REGION,
        Description="there",
        Tags=[{"TagKey": "a", "TagValue": "b"}],
    )
    metadata = answer["ReplicaKeyMetadata"]
    assert metadata["Arn"] == primary.replace(REGION, OTHER_REGION)
    assert metadata["KeyId"].startswith("mrk-")
    assert answer["ReplicaTags"] == [{"TagKey": "a", "TagValue": "b"}]
    configuration = metadata["MultiRegionConfiguration"]
    assert configuration["MultiRegionKeyType"] == "REPLICA"
    assert configuration["PrimaryKey"] == {"Arn": primary, "Region": REGION}
    assert configuration["ReplicaKeys"] == [{"Arn": metadata["Arn"], "Region": OTHER_REGION}]
    here = kms.describe_key(KeyId=primary)["KeyMetadata"]
    assert here["MultiRegionConfiguration"]["MultiRegionKeyType"] == "PRIMARY"
    assert here["CurrentKeyMaterialId"] == metadata["CurrentKeyMaterialId"]
    assert here["Description"] == ""
    assert kms.list_resource_tags(KeyId=primary)["Tags"] == []


def test_a_replica_is_disabled_by_itself(
    connect: Connect, kms: KMSClient, primary: str, replica: str
) -> None:
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=primary)
    assert connect(OTHER_REGION).decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    with fails("DisabledException"):
        kms.decrypt(CiphertextBlob=blob)


def test_rotation_of_the_primary_rotates_the_replica(
    connect: Connect, kms: KMSClient, primary: str, replica: str
) -> None:
    there = connect(OTHER_REGION)
    before = there.encrypt(KeyId=replica, Plaintext=b"x")["CiphertextBlob"]
    for refused in (there.rotate_key_on_demand, there.enable_key_rotation):
        with fails("UnsupportedOperationException"):
            refused(KeyId=replica)
    kms.rotate_key_on_demand(KeyId=primary)
    kms.enable_key_rotation(KeyId=primary, RotationPeriodInDays=100)
    assert there.get_key_rotation_status(KeyId=replica)["RotationPeriodInDays"] == 100
    after = there.generate_data_key(KeyId=replica, KeySpec="AES_256")
    current = kms.describe_key(KeyId=primary)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert after["KeyMaterialId"] == current
    assert there.decrypt(CiphertextBlob=before)["Plaintext"] == b"x"


def test_only_a_primary_is_replicated_and_once_in_a_region(
    connect: Connect, kms: KMSClient, key: str, primary: str, replica: str
) -> None:
    with fails("AlreadyExistsException"):
        kms.replicate_key(KeyId=primary, ReplicaRegion=OTHER_REGION)
    with fails("AlreadyExistsException"):
        kms.replicate_key(KeyId=primary, ReplicaRegion=REGION)
    with fails("UnsupportedOperationException"):
        kms.replicate_key(KeyId=key, ReplicaRegion=OTHER_REGION)
    with fails("UnsupportedOperationException"):
        connect(OTHER_REGION).replicate_key(KeyId=replica, ReplicaRegion="eu-west-1")
    for region in ("nowhere", "", None):
        with fails("ValidationException"):
            kms.replicate_key(KeyId=primary, ReplicaRegion=region)  # type: ignore[arg-type]  # the server must refuse it


def test_a_primary_waits_for_its_replicas_before_it_is_deleted(
    connect: Connect, kms: KMSClient, primary: str, replica: str, clock: FakeClock
) -> None:
    answer = kms.schedule_key_deletion(KeyId=primary, PendingWindowInDays=7)
    assert answer["KeyState"] == "PendingReplicaDeletion"
    assert "DeletionDate" not in dict(answer)
    with fails("KMSInvalidStateException", "is pending replica deletion"):
        kms.encrypt(KeyId=primary, Plaintext=b"x")
    clock.advance(100 * DAY)
    assert state(kms, primary) == "PendingReplicaDeletion"
    connect(OTHER_REGION).schedule_key_deletion(KeyId=replica, PendingWindowInDays=7)
    clock.advance(7 * DAY)
    assert state(kms, primary) == "PendingDeletion"
    clock.advance(7 * DAY)
    with fails("NotFoundException"):
        kms.describe_key(KeyId=primary)
