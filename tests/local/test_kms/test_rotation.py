"""Rotation: new material seals, old material still opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.local.test_kms.clients import (
    DAY,
    fails,
)
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


def test_rotation_on_demand_keeps_old_blobs_open(kms: KMSClient, key: str) -> None:
    first = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert kms.rotate_key_on_demand(KeyId=key)["KeyId"] == key.partition("/")[2]
    second = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    for made in (first, second):
        opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], KeyId=key)
        assert opened["Plaintext"] == made["Plaintext"]
        assert opened["KeyMaterialId"] == made["KeyMaterialId"]
    assert first["KeyMaterialId"] != second["KeyMaterialId"]
    current = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert current == second["KeyMaterialId"]
    moved = kms.re_encrypt(CiphertextBlob=first["CiphertextBlob"], DestinationKeyId=key)
    assert moved["SourceKeyMaterialId"] == first["KeyMaterialId"]
    assert moved["DestinationKeyMaterialId"] == second["KeyMaterialId"]


def test_rotations_are_listed_with_their_kind(kms: KMSClient, key: str) -> None:
    kms.rotate_key_on_demand(KeyId=key)
    (rotation,) = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialState"]) == ("ON_DEMAND", "CURRENT")
    every = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [entry["KeyMaterialState"] for entry in every] == ["NON_CURRENT", "CURRENT"]
    assert "RotationDate" not in every[0]


def test_a_key_rotates_on_demand_25_times(kms: KMSClient, key: str) -> None:
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=key)
    with fails("LimitExceededException"):
        kms.rotate_key_on_demand(KeyId=key)


def test_automatic_rotation_happens_at_its_date(kms: KMSClient, key: str, clock: FakeClock) -> None:
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    for days in (89, 2561):
        with fails("ValidationException"):
            kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=days)
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    assert status["NextRotationDate"].timestamp() == clock.now + 90 * DAY
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    clock.advance(90 * DAY)
    (rotation,) = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert rotation["RotationType"] == "AUTOMATIC"
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    kms.disable_key_rotation(KeyId=key)
    clock.advance(365 * DAY)
    assert len(kms.list_key_rotations(KeyId=key)["Rotations"]) == 1


def test_the_default_rotation_period_is_a_year(kms: KMSClient, key: str) -> None:
    kms.enable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 365
