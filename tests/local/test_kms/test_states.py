"""Key states: the result of each operation for a disabled key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from gateway_site.local.kms.request import OPERATIONS
from tests.local.test_kms.clients import state

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


# The "Key state table" of the AWS KMS Developer Guide, for a disabled key.
OK, OFF = "", "DisabledException"
STATE_TABLE = {
    "Encrypt": OFF,
    "Decrypt": OFF,
    "GenerateDataKey": OFF,
    "GenerateMac": OFF,
    "VerifyMac": OFF,
    "ReEncryptFrom": OFF,
    "ReEncryptTo": OFF,
    "EnableKeyRotation": OFF,
    "GetKeyRotationStatus": OK,
    "DescribeKey": OK,
    "PutKeyPolicy": OK,
    "GetKeyPolicy": OK,
    "CreateAlias": OK,
    "DisableKey": OK,
    "EnableKey": OK,
}


@pytest.mark.slow
def test_every_operation_answers_as_the_key_state_table_says(kms: KMSClient) -> None:
    tested = {name.removesuffix("From").removesuffix("To") for name in STATE_TABLE}
    assert tested == OPERATIONS.keys() - {"CreateKey"}
    for operation, disabled in STATE_TABLE.items():
        assert _outcome(kms, operation, lambda key: None) == OK, operation
        disable = _outcome(kms, operation, lambda key: kms.disable_key(KeyId=key))
        assert disable == disabled, operation


def test_reenabled_key_decrypts_earlier_ciphertexts(kms: KMSClient, key: str) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=key)
    assert state(kms, key) == "Disabled"
    kms.enable_key(KeyId=key)
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == b"x"


def _outcome(kms: KMSClient, operation: str, change: Callable[[str], object]) -> str:
    """Put a new key into a state, run one operation on it, and return the error code, if any."""
    if operation in {"GenerateMac", "VerifyMac"}:
        return _outcome_with_hmac_key(kms, operation, change)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    other = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    other_blob = kms.encrypt(KeyId=other, Plaintext=b"x")["CiphertextBlob"]
    change(key)
    calls: dict[str, Callable[[], object]] = {
        "Encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
        "Decrypt": lambda: kms.decrypt(KeyId=key, CiphertextBlob=blob),
        "GenerateDataKey": lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        "ReEncryptFrom": lambda: kms.re_encrypt(
            CiphertextBlob=blob, SourceKeyId=key, DestinationKeyId=other
        ),
        "ReEncryptTo": lambda: kms.re_encrypt(
            CiphertextBlob=other_blob, SourceKeyId=other, DestinationKeyId=key
        ),
        "EnableKeyRotation": lambda: kms.enable_key_rotation(KeyId=key),
        "GetKeyRotationStatus": lambda: kms.get_key_rotation_status(KeyId=key),
        "DescribeKey": lambda: kms.describe_key(KeyId=key),
        "PutKeyPolicy": lambda: kms.put_key_policy(KeyId=key, Policy="{}"),
        "GetKeyPolicy": lambda: kms.get_key_policy(KeyId=key),
        "CreateAlias": lambda: kms.create_alias(
            AliasName="alias/" + key.rpartition("-")[2], TargetKeyId=key
        ),
        "DisableKey": lambda: kms.disable_key(KeyId=key),
        "EnableKey": lambda: kms.enable_key(KeyId=key),
    }
    try:
        calls[operation]()
    except ClientError as error:
        assert key in error.response["Error"]["Message"]  # noqa: PT017 -- success is expected too
        return error.response["Error"]["Code"]
    return ""


def _outcome_with_hmac_key(kms: KMSClient, operation: str, change: Callable[[str], object]) -> str:
    made = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    key = made["KeyMetadata"]["Arn"]
    mac = kms.generate_mac(KeyId=key, Message=b"x", MacAlgorithm="HMAC_SHA_256")["Mac"]
    change(key)
    try:
        if operation == "GenerateMac":
            kms.generate_mac(KeyId=key, Message=b"x", MacAlgorithm="HMAC_SHA_256")
        else:
            kms.verify_mac(KeyId=key, Message=b"x", MacAlgorithm="HMAC_SHA_256", Mac=mac)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return OK
