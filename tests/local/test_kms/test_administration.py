"""Creating, describing and naming keys; rotation that is enabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.test_kms.clients import ACCOUNT, OTHER_REGION, REGION, UNKNOWN, fails, state

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


@pytest.mark.parametrize(
    "parameters",
    [
        {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"KeyUsage": "SIGN_VERIFY"},
        {"CustomerMasterKeySpec": "HMAC_256"},
        {"Origin": "EXTERNAL"},
        {"CustomKeyStoreId": "store"},
        {"Policy": "{}"},
    ],
)
def test_create_key_refuses_other_kinds_of_key(kms: KMSClient, parameters: dict[str, Any]) -> None:
    with fails("ValidationException"):
        kms.create_key(**parameters)


def test_create_key_returns_the_requested_key(kms: KMSClient) -> None:
    metadata = kms.create_key(
        Description="d",
        KeySpec="SYMMETRIC_DEFAULT",
        KeyUsage="ENCRYPT_DECRYPT",
        Tags=[{"TagKey": "a", "TagValue": "b"}],
    )["KeyMetadata"]
    assert metadata["Arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{metadata['KeyId']}"
    assert metadata["KeyState"] == "Enabled"
    assert metadata["KeyManager"] == "CUSTOMER"
    assert metadata["MultiRegion"] is False
    assert kms.describe_key(KeyId=metadata["KeyId"])["KeyMetadata"] == metadata


def test_an_alias_names_a_key(kms: KMSClient, key: str) -> None:
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    assert kms.describe_key(KeyId="alias/app")["KeyMetadata"]["Arn"] == key


def test_aliases_that_aws_refuses_are_refused(kms: KMSClient, key: str) -> None:
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    refused = {
        "AlreadyExistsException": ["alias/app"],
        "NotAuthorizedException": ["alias/aws/app"],
        "ValidationException": ["app", "alias/", "alias/a b", "alias/a:b", "alias/" + "x" * 256],
    }
    for code, names in refused.items():
        for name in names:
            with fails(code):
                kms.create_alias(AliasName=name, TargetKeyId=key)
    with fails("NotFoundException"):
        kms.create_alias(AliasName="alias/new", TargetKeyId=UNKNOWN)
    with fails("NotFoundException"):
        kms.create_alias(AliasName="alias/new", TargetKeyId=key.replace(REGION, OTHER_REGION))
    with fails("NotFoundException", "alias/none is not found"):
        kms.describe_key(KeyId="alias/none")


def test_operations_without_alias_support_reject_aliases(kms: KMSClient, key: str) -> None:
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/app"
    calls: list[Callable[..., object]] = [
        kms.disable_key,
        kms.enable_key,
        kms.enable_key_rotation,
        kms.get_key_rotation_status,
        lambda KeyId: kms.create_alias(AliasName="alias/new", TargetKeyId=KeyId),  # noqa: N803 -- AWS's name
    ]
    for call in calls:
        for name in ("alias/app", arn):
            with fails("ValidationException", "not to an alias"):
                call(KeyId=name)
        with fails("NotFoundException"):
            call(KeyId=UNKNOWN)
    assert state(kms, key) == "Enabled"


def test_rotation_is_enabled_for_a_year(kms: KMSClient, key: str) -> None:
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 365)
    kms.disable_key(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
