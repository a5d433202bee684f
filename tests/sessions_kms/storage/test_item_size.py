"""The size that is counted before a write: never below DynamoDB's own, and hardly above."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from sessions_kms.format import attributes
from sessions_kms.format.item_types import owner_of
from sessions_kms.format.record import SessionRecord
from sessions_kms.storage.session_items import BESIDE_MAX
from tests.vectors.vector import load

NOW = 1_800_000_000


def good_record() -> SessionRecord:
    return SessionRecord.from_item(load("signed_in").item)


def counted_size(item: attributes.Item) -> int:
    """Return what AWS's page on item sizes says, exactly.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    total = 0
    for name, value in item.items():
        total += len(name.encode())
        if "N" in value:
            total += (len(value["N"].strip("0")) + 1) // 2 + 1
        else:
            total += len(value["S"].encode() if "S" in value else value["B"])
    return total


@given(st.integers(0, 10**38 - 1) | st.integers(0, 10**11))
@example(0)
@example(1)
@example(10)
@example(101)
def test_number_is_never_counted_below_its_real_size(number: int) -> None:
    item: attributes.Item = {"n": {"N": str(number)}}
    assert counted_size(item) <= attributes.item_size(item)


@given(
    st.integers(0, 10**38 - 1),
    st.integers(0, 10**11),
    st.text(max_size=100),
    st.binary(max_size=500),
)
def test_item_size_is_never_below_the_real_one_and_hardly_above(
    revision: int, moment: int, user_id: str, data: bytes
) -> None:
    item = replace(
        good_record(),
        revision=revision,
        updated_at=moment,
        owner=owner_of("django", user_id),
        encrypted_data=data,
    ).to_item()
    assert 0 <= attributes.item_size(item) - counted_size(item) <= 36
    typical = good_record().to_item()
    assert attributes.item_size(typical) - counted_size(typical) <= 12


def test_overhead_is_as_documented() -> None:
    record = replace(
        good_record(),
        owner=None,
        encrypted_data=b"",
        encrypted_key=b"",
        created_at=NOW + 1,
        updated_at=NOW + 1,
        ttl=NOW + 1,
        key_period=NOW + 1,
    )
    assert counted_size(record.to_item()) == 242
    assert counted_size(replace(record, owner="user").to_item()) == 242 + 5 + 4


def test_other_attributes_never_exceed_their_reserved_size() -> None:
    """Below that the item is not counted at all."""
    most = 10**38 - 1
    item = replace(
        good_record(),
        encrypted_key=bytes(attributes.ENCRYPTED_KEY_MAX_BYTES),
        owner="x" * attributes.TEXT_MAX_BYTES,
        ancestors=bytes(attributes.ANCESTOR_BYTES * attributes.ANCESTORS_MAX),
        created_at=most,
        updated_at=most,
        ttl=most,
        revision=most,
        key_period=most,
        encrypted_data=b"",
    ).to_item()
    assert counted_size(item) < BESIDE_MAX / 2
