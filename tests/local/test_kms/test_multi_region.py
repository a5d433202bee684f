"""Multi-Region keys: one key id and material in several Regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway_site.local.kms import policy
from tests.local.test_kms.clients import (
    ACCOUNT,
    APPLICATION,
    OTHER_REGION,
    REGION,
    Connect,
    fails,
)

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
    with fails("InvalidCiphertextException"):
        there.decrypt(CiphertextBlob=blob, KeyId=replica)
    back = there.encrypt(KeyId=replica, Plaintext=b"y")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=back, KeyId=primary)["Plaintext"] == b"y"


def test_each_key_describes_the_primary_and_its_replicas(
    connect: Connect, kms: KMSClient, primary: str, replica: str
) -> None:
    assert replica == primary.replace(REGION, OTHER_REGION)
    for client, arn, kind in (
        (kms, primary, "PRIMARY"),
        (connect(OTHER_REGION), replica, "REPLICA"),
    ):
        metadata = client.describe_key(KeyId=arn)["KeyMetadata"]
        assert metadata["KeyId"].startswith("mrk-")
        assert metadata["MultiRegionConfiguration"] == {
            "MultiRegionKeyType": kind,
            "PrimaryKey": {"Arn": primary, "Region": REGION},
            "ReplicaKeys": [{"Arn": replica, "Region": OTHER_REGION}],
        }


def test_a_replica_has_a_state_and_a_policy_of_its_own(
    connect: Connect, kms: KMSClient, primary: str
) -> None:
    denial = policy.build_denial(ACCOUNT, APPLICATION, "kms:Decrypt")
    kms.put_key_policy(KeyId=primary, Policy=denial)
    answer = kms.replicate_key(KeyId=primary, ReplicaRegion=OTHER_REGION)
    replica = answer["ReplicaKeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=primary, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=primary)
    there = connect(OTHER_REGION, APPLICATION)
    assert there.decrypt(KeyId=replica, CiphertextBlob=blob)["Plaintext"] == b"x"
    with fails("DisabledException"):
        kms.decrypt(KeyId=primary, CiphertextBlob=blob)


def test_a_replica_has_the_rotation_of_its_primary(
    connect: Connect, kms: KMSClient, primary: str, replica: str
) -> None:
    there = connect(OTHER_REGION)
    with fails("UnsupportedOperationException"):
        there.enable_key_rotation(KeyId=replica)
    assert there.get_key_rotation_status(KeyId=replica)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=primary)
    assert there.get_key_rotation_status(KeyId=replica)["RotationPeriodInDays"] == 365


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
