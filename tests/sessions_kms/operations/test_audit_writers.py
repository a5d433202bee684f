"""Writers of an audit log in the table, and the MACs of their checkpoints."""

from dataclasses import replace

import boto3
import pytest

from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.operations.audit_writers import KEPT, AuditWriter, AuditWriters
from sessions_kms.services import Services, services
from sessions_kms.testing.kms import MemoryKMS
from tests.sessions_kms.support.stacks import FAKE_KEY, REGION, Stack

FIRST = AuditWriter("w1", created_at=1_000, number=3, checkpoint=b'{"n":3}')


def with_key(key: str, **config: object) -> Services:
    made = services()
    return replace(made, config=replace(made.config, audit_key_id=key, **config))  # type: ignore[arg-type]


def writers(**config: object) -> AuditWriters:
    return AuditWriters(with_key(FAKE_KEY, **config), MemoryKMS())


def test_writer_is_stored_and_replaced_by_the_process_that_has_its_stamp(stack: Stack) -> None:
    ours = writers()
    first = ours.put(FIRST)
    assert first is not None
    assert ours.get("w1") == first
    second = ours.put(replace(first, number=9, checkpoint=b'{"n":9}'))
    assert ours.put(replace(first, number=4)) is None, "a late write moved the number back"
    assert ours.put(FIRST) is None, "a writer was replaced by another of its name"
    assert ours.get("w1") == second
    assert second is not None
    assert second.number == 9
    [item] = [item for name, item in stack.items().items() if name == "audit#django#w1"]
    assert item["ttl"] == {"N": str(int(stack.clock()) + KEPT)}


def test_writers_of_a_namespace_are_its_own(stack: Stack) -> None:
    ours, others = writers(), writers(namespace="other")
    for name, where in (("w1", ours), ("w2", ours), ("w3", others)):
        where.put(replace(FIRST, name=name))
    assert sorted(ours.names()) == ["w1", "w2"]
    assert others.names() == ["w3"]
    assert ours.get("w3") is None


def test_altered_item_is_invalid(stack: Stack) -> None:
    ours = writers()
    ours.put(FIRST)
    item = stack.items()["audit#django#w1"]
    for change in ({"version": {"N": "2"}}, {"number": {"S": "3"}}, {"checkpoint": {"S": "x"}}):
        stack.put_item(item | change)
        with pytest.raises(InvalidRecord):
            ours.get("w1")


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
def test_kms_signs_and_verifies(stack: Stack) -> None:
    kms = boto3.client("kms", region_name=REGION)
    key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"]
    ours = AuditWriters(with_key(key))
    mac = ours.sign(b"heads")
    assert ours.is_signed(b"heads", mac)
    assert not ours.is_signed(b"head", mac)
    assert not ours.is_signed(b"heads", bytes(32))
    kms.disable_key(KeyId=key)
    for use in (lambda: ours.sign(b"heads"), lambda: ours.is_signed(b"heads", mac)):
        with pytest.raises(KMSUnavailable):
            use()
