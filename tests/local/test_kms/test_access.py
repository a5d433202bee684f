"""Access to keys: unknown and denied keys, key policies, dry runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from gateway_site.local.kms import policy
from tests.local.test_kms.clients import (
    ACCOUNT,
    APPLICATION,
    CONTEXT,
    OTHER_REGION,
    PLAINTEXT,
    REGION,
    UNKNOWN,
    Connect,
    fails,
    state,
)

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

# Each action of a key policy, and the operation that it allows.
OPERATION_OF = {
    "Encrypt": "Encrypt",
    "Decrypt": "Decrypt",
    "GenerateDataKey": "GenerateDataKey",
    "ReEncryptFrom": "ReEncrypt",
    "ReEncryptTo": "ReEncrypt",
    "DescribeKey": "DescribeKey",
}
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


@pytest.mark.parametrize("action", OPERATION_OF)
def test_a_denied_action_is_denied_to_its_principal_only(
    connect: Connect, kms: KMSClient, key: str, blob: bytes, action: str
) -> None:
    kms.put_key_policy(KeyId=key, Policy=policy.build_denial(ACCOUNT, APPLICATION, f"kms:{action}"))
    denied: set[str] = set()
    for name, call in _calls(connect(REGION, APPLICATION), key, blob).items():
        try:
            call()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDeniedException"  # noqa: PT017 -- a loop over answers
            denied.add(name)
    assert denied == {OPERATION_OF[action]}
    for call in _calls(kms, key, blob).values():
        call()


def test_a_denied_principal_learns_nothing_of_a_blob(
    connect: Connect, kms: KMSClient, key: str, blob: bytes
) -> None:
    kms.put_key_policy(KeyId=key, Policy=policy.build_denial(ACCOUNT, APPLICATION, "kms:*"))
    for each in (blob, b"nonsense"):
        with fails("AccessDeniedException"):
            connect(REGION, APPLICATION).decrypt(
                CiphertextBlob=each, KeyId=key, EncryptionContext=CONTEXT
            )


def test_denied_administration_changes_nothing(connect: Connect, kms: KMSClient, key: str) -> None:
    kms.put_key_policy(KeyId=key, Policy=policy.build_denial(ACCOUNT, APPLICATION, "kms:*"))
    application = connect(REGION, APPLICATION)
    calls: list[Callable[..., object]] = [
        application.describe_key,
        application.enable_key,
        application.disable_key,
        application.get_key_rotation_status,
        application.enable_key_rotation,
    ]
    for call in calls:
        with fails("AccessDeniedException", APPLICATION):
            call(KeyId=key)
    with fails("AccessDeniedException"):
        application.put_key_policy(KeyId=key, Policy=policy.build_default(ACCOUNT))
    with fails("AccessDeniedException"):
        application.create_alias(AliasName="alias/more", TargetKeyId=key)
    with fails("NotFoundException"):
        kms.describe_key(KeyId="alias/more")
    assert state(kms, key) == "Enabled"


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


def _with(**statement: object) -> str:
    allow = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    return json.dumps({"Statement": [allow, allow | statement]})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"Statement": []}',
        '{"Statement": ["x"]}',
        "[" * 30_000,
        _with(Effect="Maybe"),
        _with(Condition={"Bool": {"aws:SecureTransport": "true"}}),
        _with(NotAction="kms:Decrypt"),
        _with(NotPrincipal="*"),
        _with(Principal={"Service": "lambda.amazonaws.com"}),
        _with(Principal={"AWS": []}),
        _with(Principal=None),
        _with(Action=None),
        _with(Action=[1]),
    ],
)
def test_a_policy_that_cannot_be_evaluated_is_malformed(
    connect: Connect, kms: KMSClient, key: str, text: str
) -> None:
    kms.put_key_policy(KeyId=key, Policy=policy.build_denial(ACCOUNT, APPLICATION, "kms:Describe*"))
    with fails("MalformedPolicyDocumentException"):
        kms.put_key_policy(KeyId=key, Policy=text)
    with fails("AccessDeniedException"):  # The policy before it is in force.
        connect(REGION, APPLICATION).describe_key(KeyId=key)


@pytest.mark.parametrize(
    "principal",
    ["*", ACCOUNT, {"AWS": "*"}, {"AWS": [f"arn:aws:iam::{ACCOUNT}:root", "arn:aws:iam::1:root"]}],
)
def test_a_principal_is_named_in_each_way_of_earlier_states(
    kms: KMSClient, key: str, principal: object
) -> None:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}
    kms.put_key_policy(KeyId=key, Policy=json.dumps({"Statement": statement}))
    assert state(kms, key) == "Enabled"


def test_whom_no_statement_allows_is_denied(kms: KMSClient, key: str) -> None:
    kms.put_key_policy(KeyId=key, Policy=json.dumps({"Statement": [
        {"Effect": "Allow", "Principal": {"AWS": policy.build_user_arn(ACCOUNT, APPLICATION)},
         "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": "*", "Action": "kms:DescribeKey", "Resource": "*"},
    ]}))  # fmt: skip
    assert state(kms, key) == "Enabled"
    with fails("AccessDeniedException"):
        kms.encrypt(KeyId=key, Plaintext=PLAINTEXT)


def test_policy_that_is_read_is_the_one_that_was_put(kms: KMSClient, key: str) -> None:
    assert kms.get_key_policy(KeyId=key)["Policy"] == policy.build_default(ACCOUNT)
    put = _with(Sid="Mine")
    kms.put_key_policy(KeyId=key, Policy=put, PolicyName="default")
    assert kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"] == put
    with fails("ValidationException"):
        kms.get_key_policy(KeyId=key, PolicyName="other")


def test_a_policy_has_a_greatest_length(kms: KMSClient, key: str) -> None:
    with fails("ValidationException"):
        kms.put_key_policy(KeyId=key, Policy=_with(Sid="x" * 32768))
    with fails("ValidationException"):
        kms.put_key_policy(KeyId=key, Policy=policy.build_default(ACCOUNT), PolicyName="other")


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
