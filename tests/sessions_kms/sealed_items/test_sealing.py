"""Sealing of payloads."""

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import session_id
from sessions_kms.sealed_items.sealing import Sealing
from tests.sessions_kms.support.stacks import Stack

KEY = "s" * 32


def test_record_that_replaces_none_has_no_ancestors(fake: Stack) -> None:
    seal = run_sync(Sealing(fake.services).seal(b"{}"))
    first = seal.record(KEY, revision=1, created_at=seal.now, ttl=seal.now + 60)
    assert first.ancestors == b""
    assert "ancestors" not in first.to_item()


def test_record_has_the_ancestors_that_it_is_given_and_a_salt_of_its_own(fake: Stack) -> None:
    seal = run_sync(Sealing(fake.services).seal(b"{}"))
    one, other = (
        seal.record(KEY, revision=2, created_at=seal.now, ttl=seal.now + 60, ancestors=b"a" * 16)
        for _ in range(2)
    )
    assert one.ancestors == other.ancestors == b"a" * 16
    assert one.salt != other.salt
    assert one.iv != other.iv


def test_what_a_seal_adds_is_of_its_moment_and_its_key(fake: Stack) -> None:
    seal = run_sync(Sealing(fake.services).seal(b'{"a":1}'))
    record = seal.record(KEY, revision=1, created_at=seal.now - 5, ttl=seal.now + 60)
    assert (record.id, record.owner) == (session_id(seal.namespace, KEY), None)
    assert (record.created_at, record.updated_at) == (seal.now - 5, seal.now)
    assert record.encrypted_key == seal.data_key.encrypted
    assert run_sync(Sealing(fake.services).open(record, KEY)) == b'{"a":1}'
