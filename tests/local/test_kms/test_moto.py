"""The same scenario with the local KMS and with moto, limited to behaviour that moto has right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from tests.local.test_kms.clients import (
    CONTEXT,
    REGION,
    check_documented,
    client,
    fails,
)
from tests.support.local_kms import LocalKMS

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


AWS = f"https://kms.{REGION}.amazonaws.com"


@pytest.mark.parametrize("engine", ["local", "moto"])
def test_responses_agree_with_moto_where_moto_is_right(server: LocalKMS, engine: str) -> None:
    with mock_aws():
        kms = client(server.url if engine == "local" else AWS)
        try:
            _check_shared_behaviour(kms)
        finally:
            kms.close()


def _check_shared_behaviour(kms: KMSClient) -> None:
    metadata = kms.create_key(Description="shared")["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Origin"]) == ("Enabled", "AWS_KMS")
    assert (metadata["KeySpec"], metadata["KeyManager"]) == ("SYMMETRIC_DEFAULT", "CUSTOMER")
    arn = metadata["Arn"]
    made = kms.generate_data_key(KeyId=arn, KeySpec="AES_256", EncryptionContext=CONTEXT)
    assert made["KeyId"] == arn
    blob = made["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob, KeyId=arn, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["Plaintext"]
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=arn)
    with fails("ValidationException", "Please specify either number of bytes or key spec."):
        kms.generate_data_key(KeyId=arn)
    with fails("ValidationException", "less than or equal to 4096"):
        kms.encrypt(KeyId=arn, Plaintext=b"x" * 4097)
    with fails("NotFoundException", "alias/nobody is not found."):
        kms.describe_key(KeyId="alias/nobody")
    kms.create_alias(AliasName="alias/moto", TargetKeyId=arn)
    with fails("AlreadyExistsException", "already exists"):
        kms.create_alias(AliasName="alias/moto", TargetKeyId=arn)
    with fails("ValidationException"):
        kms.create_alias(AliasName="moto", TargetKeyId=arn)
    with fails("ValidationException"):
        kms.create_alias(AliasName="alias/second", TargetKeyId="alias/moto")
    with fails("NotAuthorizedException"):
        kms.create_alias(AliasName="alias/aws/s3", TargetKeyId=arn)


def test_an_undocumented_error_code_fails_these_tests(kms: KMSClient) -> None:
    model = kms.meta.service_model.operation_model("DescribeKey")
    check_documented({"Error": {"Code": "NotFoundException"}}, model)
    with pytest.raises(AssertionError, match="DryRunOperationException"):
        check_documented({"Error": {"Code": "DryRunOperationException"}}, model)
