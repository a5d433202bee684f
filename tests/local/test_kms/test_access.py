"""Access to keys: unknown keys, key policies, dry runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.local.test_kms.clients import (
    ACCOUNT,
    CONTEXT,
    OTHER_REGION,
    REGION,
    UNKNOWN,
    Connect,
    fails,
)

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

HAVE_DRY_RUNS = ("Encrypt", "Decrypt", "GenerateDataKey")


def test_a_key_that_does_not_exist_is_not_found(kms: KMSClient, key: str, blob: bytes) -> None:
    names = [
        UNKNOWN,
        key.partition("/")[0] + "/" + UNKNOWN,
        key.replace(REGION, OTHER_REGION),
        key.replace(ACCOUNT, "444455556666"),
        "alias/nobody",
        "arn:aws:s3:::bucket",
        "nonsense",
        "%",
    ]
    for name in names:
        with fails("NotFoundException"):
            kms.encrypt(KeyId=name, Plaintext=b"x")
        with fails("NotFoundException"):
            kms.decrypt(CiphertextBlob=blob, KeyId=name, EncryptionContext=CONTEXT)
        with fails("NotFoundException"):
            kms.re_encrypt(
                CiphertextBlob=blob,
                SourceKeyId=key,
                SourceEncryptionContext=CONTEXT,
                DestinationKeyId=name,
            )
        with fails("NotFoundException"):
            kms.describe_key(KeyId=name)


def test_regions_do_not_see_each_other(connect: Connect, key: str, blob: bytes) -> None:
    elsewhere = connect(OTHER_REGION)
    for name in (key, key.partition("/")[2]):
        with fails("NotFoundException"):
            elsewhere.describe_key(KeyId=name)
        with fails("NotFoundException"):
            elsewhere.decrypt(KeyId=name, CiphertextBlob=blob, EncryptionContext=CONTEXT)


def test_dry_run_shows_what_would_happen_and_does_nothing(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    for name in HAVE_DRY_RUNS:
        with fails("DryRunOperationException", "would have succeeded"):
            _calls(kms, key, blob, DryRun=True)[name]()
        _calls(kms, key, blob, DryRun=False)[name]()
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=key, DryRun=True)
    with fails("ValidationException"):
        kms.generate_data_key(KeyId=key, DryRun=True)
    kms.disable_key(KeyId=key)
    for name in HAVE_DRY_RUNS:
        with fails("DisabledException"):
            _calls(kms, key, blob, DryRun=True)[name]()


def test_policy_that_is_read_is_the_one_that_was_put(kms: KMSClient, key: str) -> None:
    first = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    assert first["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    put = json.dumps({"Statement": [first["Statement"][0] | {"Sid": "Mine"}]})
    kms.put_key_policy(KeyId=key, Policy=put, PolicyName="default")
    for text, code in (
        ("{", "MalformedPolicyDocumentException"),
        ("[" * 30_000, "MalformedPolicyDocumentException"),
        (f'"{"x" * 32768}"', "ValidationException"),
    ):
        with fails(code):
            kms.put_key_policy(KeyId=key, Policy=text)
    with fails("ValidationException"):
        kms.put_key_policy(KeyId=key, Policy="{}", PolicyName="other")
    assert kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"] == put
    with fails("ValidationException"):
        kms.get_key_policy(KeyId=key, PolicyName="other")


def _calls(kms: KMSClient, key: str, blob: bytes, **also: Any) -> dict[str, Callable[[], object]]:
    """Return one valid call of each operation that uses a key."""
    source: dict[str, Any] = {"SourceKeyId": key, "SourceEncryptionContext": CONTEXT}
    return {
        "Encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=b"x", **also),
        "Decrypt": lambda: kms.decrypt(
            KeyId=key, CiphertextBlob=blob, EncryptionContext=CONTEXT, **also
        ),
        "GenerateDataKey": lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256", **also),
        "ReEncrypt": lambda: kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key, **source),
        "DescribeKey": lambda: kms.describe_key(KeyId=key),
    }
