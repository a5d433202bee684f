"""Creating, naming, listing and tagging keys; everything after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway_site.local.kms import running_kms
from tests.local.test_kms.clients import (
    ACCOUNT,
    DAY,
    FOREIGN_ACCOUNT,
    OTHER_REGION,
    REGION,
    UNKNOWN,
    Connect,
    clients,
    fails,
    state,
)
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


def test_create_key_refuses_other_kinds_of_key(kms: KMSClient) -> None:
    refused: list[tuple[str, dict[str, Any]]] = [
        ("UnsupportedOperationException", {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}),
        ("UnsupportedOperationException", {"CustomerMasterKeySpec": "HMAC_256"}),
        ("UnsupportedOperationException", {"Origin": "EXTERNAL"}),
        ("ValidationException", {"KeyUsage": "SIGN_VERIFY"}),
        ("ValidationException", {"KeyUsage": "SING"}),
        ("ValidationException", {"CustomKeyStoreId": "store"}),
        ("ValidationException", {"Description": "x" * 8193}),
        ("ValidationException", {"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SM2"}),
        ("TagException", {"Tags": [{"TagKey": "a", "TagValue": "b"}] * 2}),
        ("TagException", {"Tags": [{"TagKey": "aws:a", "TagValue": "b"}]}),
        ("TagException", {"Tags": [{"TagKey": str(n), "TagValue": ""} for n in range(51)]}),
        ("ValidationException", {"Tags": [{"TagKey": "", "TagValue": "b"}]}),
    ]
    for code, parameters in refused:
        with fails(code):
            kms.create_key(**parameters)
    assert kms.list_keys()["Keys"] == []


def test_create_key_returns_what_was_asked_for(kms: KMSClient, clock: FakeClock) -> None:
    metadata = kms.create_key(
        Description="d", KeySpec="SYMMETRIC_DEFAULT", KeyUsage="ENCRYPT_DECRYPT", Origin="AWS_KMS"
    )["KeyMetadata"]
    assert metadata["Arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{metadata['KeyId']}"
    assert metadata["CreationDate"].timestamp() == clock.now
    assert metadata["Enabled"] is True
    assert metadata["MultiRegion"] is False
    assert metadata["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    assert metadata["Description"] == "d"
    kms.disable_key(KeyId=metadata["KeyId"])
    assert kms.describe_key(KeyId=metadata["KeyId"])["KeyMetadata"]["Enabled"] is False


def test_an_alias_moves_to_another_key_and_is_deleted(kms: KMSClient, key: str) -> None:
    other = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    assert kms.describe_key(KeyId="alias/app")["KeyMetadata"]["Arn"] == key
    kms.update_alias(AliasName="alias/app", TargetKeyId=other)
    assert kms.describe_key(KeyId="alias/app")["KeyMetadata"]["Arn"] == other
    (entry,) = kms.list_aliases(KeyId=other)["Aliases"]
    assert entry["AliasArn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/app"
    assert kms.list_aliases(KeyId=key)["Aliases"] == []
    kms.delete_alias(AliasName="alias/app")
    with fails("NotFoundException", "alias/app is not found"):
        kms.describe_key(KeyId="alias/app")


def test_aliases_that_aws_refuses_are_refused(connect: Connect, kms: KMSClient, key: str) -> None:
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    refused = {
        "AlreadyExistsException": ["alias/app"],
        "NotAuthorizedException": ["alias/aws/app"],
        "InvalidAliasNameException": ["alias/"],
        "ValidationException": ["app", "alias/a b", "alias/a:b", "alias/" + "x" * 256, ""],
    }
    for code, names in refused.items():
        for name in names:
            with fails(code):
                kms.create_alias(AliasName=name, TargetKeyId=key)
    with fails("NotFoundException"):
        kms.create_alias(AliasName="alias/new", TargetKeyId=UNKNOWN)
    with fails("ValidationException", "Not aliases"):
        kms.create_alias(AliasName="alias/new", TargetKeyId="alias/app")
    with fails("AccessDeniedException"):
        connect(REGION, FOREIGN_ACCOUNT).create_alias(AliasName="alias/new", TargetKeyId=key)
    for call in (kms.update_alias, kms.delete_alias):
        target = {"TargetKeyId": key} if call is kms.update_alias else {}
        with fails("NotFoundException", "alias/none is not found"):
            call(AliasName="alias/none", **target)


def test_operations_that_take_no_alias_say_so(kms: KMSClient, key: str) -> None:
    kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/app"
    calls: list[Callable[..., object]] = [
        kms.disable_key,
        kms.enable_key,
        kms.schedule_key_deletion,
        kms.get_key_policy,
        kms.enable_key_rotation,
        kms.rotate_key_on_demand,
        kms.list_resource_tags,
    ]
    for call in calls:
        for name in ("alias/app", arn):
            with fails("InvalidArnException", "Key Aliases are not supported"):
                call(KeyId=name)
        with fails("InvalidArnException"):
            call(KeyId="arn:aws:kms:nonsense")
        with fails("InvalidArnException"):
            call(KeyId=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/alias/app")
        with fails("NotFoundException"):
            call(KeyId=UNKNOWN)
    assert state(kms, key) == "Enabled"


def test_regions_and_accounts_do_not_see_each_other(connect: Connect, key: str) -> None:
    for elsewhere in (connect(OTHER_REGION), connect(REGION, FOREIGN_ACCOUNT)):
        assert elsewhere.list_keys()["Keys"] == []
        with fails("NotFoundException"):
            elsewhere.describe_key(KeyId=key.partition("/")[2])
    with fails("AccessDeniedException"):
        connect(REGION, FOREIGN_ACCOUNT).describe_key(KeyId=key)


def test_lists_are_paged_without_loss_or_repetition(kms: KMSClient) -> None:
    made = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(7)}
    for number, key in enumerate(made):
        kms.create_alias(AliasName=f"alias/{number}", TargetKeyId=key)
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["Keys"]) for page in pages] == [3, 3, 1]
    assert {entry["KeyId"] for page in pages for entry in page["Keys"]} == made
    aliases = kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2})
    assert len([alias for page in aliases for alias in page["Aliases"]]) == 7
    for limit in (0, 1001):
        with fails("ValidationException"):
            kms.list_keys(Limit=limit)
    for marker in ("not base64!", "/w=="):
        with fails("InvalidMarkerException"):
            kms.list_keys(Marker=marker)


def test_tags_are_added_replaced_and_removed(kms: KMSClient) -> None:
    key = kms.create_key(Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]["Arn"]
    kms.tag_resource(
        KeyId=key, Tags=[{"TagKey": "a", "TagValue": "2"}, {"TagKey": "b", "TagValue": ""}]
    )
    tags = kms.list_resource_tags(KeyId=key)["Tags"]
    assert tags == [{"TagKey": "a", "TagValue": "2"}, {"TagKey": "b", "TagValue": ""}]
    kms.untag_resource(KeyId=key, TagKeys=["a"])
    assert [tag["TagKey"] for tag in kms.list_resource_tags(KeyId=key)["Tags"]] == ["b"]
    with fails("LimitExceededException"):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": str(n), "TagValue": "x"} for n in range(50)])


@contextmanager
def _reopened(path: Any, clock: FakeClock) -> Iterator[KMSClient]:
    with running_kms(path, clock=clock) as server, clients(server.url) as connect:
        yield connect()


def test_everything_is_there_after_a_restart(tmp_path: Any, clock: FakeClock) -> None:
    path = tmp_path / "kms.sqlite3"
    with _reopened(path, clock) as kms:
        key = kms.create_key(MultiRegion=True, Tags=[{"TagKey": "a", "TagValue": "b"}])
        arn = key["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName="alias/app", TargetKeyId=arn)
        old = kms.encrypt(KeyId=arn, Plaintext=b"old")["CiphertextBlob"]
        kms.rotate_key_on_demand(KeyId=arn)
        kms.enable_key_rotation(KeyId=arn)
        new = kms.encrypt(KeyId=arn, Plaintext=b"new")["CiphertextBlob"]
        before = _everything(kms, arn)
    with _reopened(path, clock) as kms:
        assert _everything(kms, arn) == before
        assert kms.decrypt(CiphertextBlob=old, KeyId="alias/app")["Plaintext"] == b"old"
        assert kms.decrypt(CiphertextBlob=new, KeyId="alias/app")["Plaintext"] == b"new"
        kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    clock.advance(7 * DAY)
    with _reopened(path, clock) as kms:
        assert kms.list_keys()["Keys"] == []


def _everything(kms: KMSClient, key: str) -> list[object]:
    return [
        kms.describe_key(KeyId=key)["KeyMetadata"],
        kms.get_key_policy(KeyId=key)["Policy"],
        kms.list_resource_tags(KeyId=key)["Tags"],
        kms.list_key_rotations(KeyId=key)["Rotations"],
        kms.get_key_rotation_status(KeyId=key)["NextRotationDate"],
        kms.list_aliases()["Aliases"],
    ]
