"""Who may use which key: unknown, foreign and denied ones, key policies, dry runs."""

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
    FOREIGN_ACCOUNT,
    OTHER_REGION,
    PLAINTEXT,
    REGION,
    Connect,
    fails,
    state,
)

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


def test_a_key_that_does_not_exist_is_not_found(kms: KMSClient, key: str, blob: bytes) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    names = {
        unknown: "does not exist",
        key.partition("/")[0] + "/" + unknown: "does not exist",
        key.replace(REGION, OTHER_REGION): f"Invalid arn {OTHER_REGION}",
        "alias/nobody": "is not found",
        "arn:aws:s3:::bucket": "Invalid arn",
        "nonsense": "Invalid keyId",
    }
    for name, saying in names.items():
        with fails("NotFoundException", saying):
            kms.encrypt(KeyId=name, Plaintext=b"x")
        with fails("NotFoundException", saying):
            kms.decrypt(CiphertextBlob=blob, KeyId=name, EncryptionContext=CONTEXT)
        with fails("NotFoundException", saying):
            kms.re_encrypt(
                CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=name
            )


def test_a_blob_of_another_region_or_account_is_denied(connect: Connect, blob: bytes) -> None:
    for elsewhere in (connect(OTHER_REGION), connect(REGION, FOREIGN_ACCOUNT)):
        with fails("AccessDeniedException"):
            elsewhere.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)


def test_another_account_may_use_a_key_only_when_its_policy_says_so(
    connect: Connect, kms: KMSClient, key: str, blob: bytes
) -> None:
    foreigner = connect(REGION, FOREIGN_ACCOUNT)
    with fails("AccessDeniedException"):
        foreigner.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=CONTEXT)
    with fails("AccessDeniedException"):
        foreigner.encrypt(KeyId=key.rpartition("/")[0] + "/unknown", Plaintext=b"x")
    kms.put_key_policy(
        KeyId=key,
        Policy=policy.default(ACCOUNT).replace(
            f'"arn:aws:iam::{ACCOUNT}:root"', f'["{ACCOUNT}", "{FOREIGN_ACCOUNT}"]'
        ),
    )
    opened = foreigner.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == PLAINTEXT
    with fails("AccessDeniedException"):
        foreigner.disable_key(KeyId=key)


@pytest.mark.parametrize(
    "action",
    [
        "Encrypt",
        "Decrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncryptFrom",
        "ReEncryptTo",
        "DescribeKey",
    ],
)
def test_a_denied_action_is_denied_to_its_principal_only(
    connect: Connect, kms: KMSClient, key: str, blob: bytes, action: str
) -> None:
    kms.put_key_policy(KeyId=key, Policy=policy.denying(ACCOUNT, APPLICATION, f"kms:{action}"))
    denied: set[str] = set()
    for name, call in _calls(connect(REGION, APPLICATION), key, blob).items():
        try:
            call()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDeniedException"  # noqa: PT017 -- a loop over answers
            denied.add(name)
    assert denied == {"ReEncrypt" if action.startswith("ReEncrypt") else action}
    for call in _calls(kms, key, blob).values():
        call()


def test_a_denied_principal_learns_nothing_of_a_blob(
    connect: Connect, kms: KMSClient, key: str, blob: bytes
) -> None:
    kms.put_key_policy(KeyId=key, Policy=policy.denying(ACCOUNT, APPLICATION, "kms:*"))
    application = connect(REGION, APPLICATION)
    for each in (blob, b"nonsense"):
        with fails("AccessDeniedException"):
            application.decrypt(CiphertextBlob=each, KeyId=key, EncryptionContext=CONTEXT)
    with fails("AccessDeniedException"):
        application.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)


def test_dry_run_says_what_would_happen_and_answers_nothing(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    for name, call in _calls(kms, key, blob, DryRun=True).items():
        if name != "DescribeKey":
            with fails("DryRunOperationException", "would have succeeded"):
                call()
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=key, DryRun=True)
    with fails("ValidationException"):
        kms.generate_data_key(KeyId=key, DryRun=True)
    kms.disable_key(KeyId=key)
    for name, call in _calls(kms, key, blob, DryRun=True).items():
        if name != "DescribeKey":
            with fails("DisabledException"):
                call()
    assert kms.encrypt(KeyId=kms.create_key()["KeyMetadata"]["Arn"], Plaintext=b"x", DryRun=False)[
        "CiphertextBlob"
    ]


def test_denied_administration_changes_nothing(connect: Connect, kms: KMSClient, key: str) -> None:
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    kms.put_key_policy(KeyId=key, Policy=policy.denying(ACCOUNT, APPLICATION, "kms:*"))
    application = connect(REGION, APPLICATION)
    calls: list[Callable[..., object]] = [
        application.describe_key,
        application.disable_key,
        application.schedule_key_deletion,
        application.rotate_key_on_demand,
        application.get_key_policy,
    ]
    for call in calls:
        with fails("AccessDeniedException", APPLICATION):
            call(KeyId=key)
    with fails("AccessDeniedException"):
        application.delete_alias(AliasName="alias/app")
    with fails("AccessDeniedException"):
        application.create_alias(AliasName="alias/more", TargetKeyId=key)
    assert state(kms, "alias/app") == "Enabled"


def test_the_policy_is_kept_as_it_was_put(kms: KMSClient, key: str) -> None:
    default = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    assert default["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    text = policy.denying(ACCOUNT, APPLICATION, "kms:Decrypt")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=text)
    assert kms.get_key_policy(KeyId=key)["Policy"] == text
    with fails("NotFoundException", "No such policy exists"):
        kms.get_key_policy(KeyId=key, PolicyName="other")


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
        _with(Principal={"Service": "lambda.amazonaws.com"}),
        _with(Principal={"AWS": []}),
        _with(Principal=None),
        _with(Action="s3:GetObject"),
        _with(Action=None),
        _with(Sid="\u2603").replace("\\u2603", "\u2603"),
        # It would lock out whoever puts it.
        _with(Effect="Deny", Action="kms:PutKeyPolicy"),
    ],
)
def test_a_policy_that_cannot_be_kept_to_is_malformed(kms: KMSClient, key: str, text: str) -> None:
    before = kms.get_key_policy(KeyId=key)["Policy"]
    with fails("MalformedPolicyDocumentException"):
        kms.put_key_policy(KeyId=key, Policy=text)
    with fails("MalformedPolicyDocumentException"):
        kms.create_key(Policy=text)
    assert kms.get_key_policy(KeyId=key)["Policy"] == before


def test_a_policy_has_a_greatest_length(kms: KMSClient, key: str) -> None:
    with fails("LimitExceededException"):
        kms.put_key_policy(KeyId=key, Policy=_with(Sid="x" * 32768))
    with fails("ValidationException"):
        kms.put_key_policy(KeyId=key, Policy=_with(Sid="x" * 131072))


def test_the_lockout_check_can_be_bypassed(kms: KMSClient, key: str) -> None:
    text = _with(Effect="Deny", Action="kms:Put*")
    kms.put_key_policy(KeyId=key, Policy=text, BypassPolicyLockoutSafetyCheck=True)
    with fails("AccessDeniedException"):
        kms.put_key_policy(KeyId=key, Policy=policy.default(ACCOUNT))


def _calls(kms: KMSClient, key: str, blob: bytes, **also: Any) -> dict[str, Callable[[], object]]:
    """Return one good call of each operation that uses a key."""
    opening: dict[str, Any] = {"CiphertextBlob": blob, **also}
    data_key: dict[str, Any] = {"KeyId": key, "KeySpec": "AES_256", **also}
    return {
        "Encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=b"x", **also),
        "Decrypt": lambda: kms.decrypt(KeyId=key, EncryptionContext=CONTEXT, **opening),
        "GenerateDataKey": lambda: kms.generate_data_key(**data_key),
        "GenerateDataKeyWithoutPlaintext": lambda: kms.generate_data_key_without_plaintext(
            **data_key
        ),
        "ReEncrypt": lambda: kms.re_encrypt(
            DestinationKeyId=key, SourceEncryptionContext=CONTEXT, **opening
        ),
        "DescribeKey": lambda: kms.describe_key(KeyId=key),
    }
