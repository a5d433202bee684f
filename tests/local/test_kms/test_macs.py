"""HMAC keys: what they make is verified, and they are for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.test_kms.clients import fails

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


@pytest.fixture
def hmac_key(kms: KMSClient) -> str:
    metadata = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    assert (metadata["KeySpec"], metadata["MacAlgorithms"]) == ("HMAC_256", ["HMAC_SHA_256"])
    return metadata["Arn"]


def call(kms: KMSClient, key: str, **more: Any) -> dict[str, Any]:
    return {"KeyId": key, "Message": b"heads", "MacAlgorithm": "HMAC_SHA_256"} | more


def test_mac_is_valid_for_its_message_and_key_only(kms: KMSClient, hmac_key: str) -> None:
    mac = kms.generate_mac(**call(kms, hmac_key))["Mac"]
    response = kms.verify_mac(**call(kms, hmac_key, Mac=mac))
    assert (response["MacValid"], response["KeyId"], len(mac)) == (True, hmac_key, 32)
    other = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    for changed in (
        {"Message": b"heads "},
        {"KeyId": other["Arn"]},
        {"Mac": mac[:-1]},
        {"Mac": bytes(32)},
    ):
        with fails("KMSInvalidMacException"):
            kms.verify_mac(**call(kms, hmac_key, Mac=mac) | changed)
    with fails("DryRunOperationException"):
        kms.verify_mac(**call(kms, hmac_key, Mac=mac, DryRun=True))


@pytest.mark.parametrize(
    ("code", "use"),
    [
        ("InvalidKeyUsageException", lambda kms, key: kms.encrypt(KeyId=key, Plaintext=b"x")),
        (
            "InvalidKeyUsageException",
            lambda kms, key: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        ),
        ("UnsupportedOperationException", lambda kms, key: kms.enable_key_rotation(KeyId=key)),
        ("ValidationException", lambda kms, _: kms.create_key(KeySpec="HMAC_256")),
    ],
)
def test_hmac_key_is_for_nothing_else(
    kms: KMSClient, hmac_key: str, code: str, use: Callable[[KMSClient, str], object]
) -> None:
    with fails(code):
        use(kms, hmac_key)


def test_mac_needs_an_hmac_key_that_is_enabled(kms: KMSClient, key: str, hmac_key: str) -> None:
    with fails("InvalidKeyUsageException"):
        kms.generate_mac(**call(kms, key))
    kms.disable_key(KeyId=hmac_key)
    with fails("DisabledException"):
        kms.generate_mac(**call(kms, hmac_key))
