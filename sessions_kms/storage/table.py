"""The DynamoDB table: every read consistent, every write with its precondition.

Takes and gives records, each under its id. Knows neither session keys nor
plaintext. All methods raise TableUnavailable when the answer cannot be told, and
InvalidRecord when an item that they read is not what the format says.
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from sessions_kms.aws.errors import ConditionFailed, TransactionCanceled
from sessions_kms.exceptions import (
    FateUnknown,
    InvalidRecord,
    SessionTooLarge,
    TableUnavailable,
)
from sessions_kms.format.ancestors import descends
from sessions_kms.format.attributes import ITEM_MAX_BYTES, Item, as_number, item_size, number
from sessions_kms.format.kinds import NOT_BEFORE, data_key_id, not_before_id
from sessions_kms.format.published_key import PublishedKey
from sessions_kms.format.record import HEAD_ATTRIBUTES, RecordHead, SessionRecord
from sessions_kms.format.tombstone import Tombstone, is_tombstone, tombstone_in
from sessions_kms.storage.doubts import once_more
from sessions_kms.storage.items import ItemTable
from sessions_kms.storage.writing import REPEATS_MAX

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ABSENT = "attribute_not_exists(#id) OR #ttl <= :now"
_UNCHANGED = "#revision = :revision AND #salt = :salt AND #ttl > :now"


class Version(Protocol):
    """The state of a stored record that a write expects to find."""

    @property
    def revision(self) -> int: ...
    @property
    def salt(self) -> bytes: ...


class RecordExists(Exception):
    """Another live record has this id."""


class Conflict(Exception):
    """The record is not as it was loaded; ``current`` is what stands now, None for nothing."""

    def __init__(self, current: SessionRecord | Tombstone | None) -> None:
        super().__init__("The session record was changed meanwhile.")
        self.current = current


class Table(ItemTable):
    """One namespace of one table."""

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        name: str,
        namespace: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(client, name=name, sleep=sleep)
        self._namespace = namespace

    def find(self, session_id: str) -> SessionRecord | Tombstone | None:
        """Return what stands under this id, expired or not."""
        item = self.get_item(session_id)
        return None if item is None else _stored(item)

    def get(self, session_id: str) -> SessionRecord | None:
        """Return the record of this id, expired or not; a tombstone is none."""
        found = self.find(session_id)
        return found if isinstance(found, SessionRecord) else None

    def head(self, session_id: str) -> RecordHead | None:
        """Return the record of this id, expired or not, without its ciphertext."""
        item = self.get_item(session_id, only=HEAD_ATTRIBUTES)
        return None if item is None or is_tombstone(item) else RecordHead.from_item(item)

    def create(self, record: SessionRecord, *, now: int) -> None:
        """Put a record where none is, or only an expired one.

        Raises RecordExists, or FateUnknown: then it may appear later under this id.
        """
        try:
            self._put(record, _ABSENT, {":now": as_number(now)})
        except ConditionFailed as exc:
            if not _is_ours(record, self._current(record.id, exc)):
                raise RecordExists from exc
        except FateUnknown:
            if not _is_ours(record, self.find(record.id)):
                raise

    def replace(self, record: SessionRecord, *, expected: Version, now: int) -> None:
        """Put a record in the place of the one that was loaded.

        Raises Conflict, also for what an earlier request put, or FateUnknown.
        """
        try:
            self._put(record, _UNCHANGED, _unchanged_values(expected, now))
        except ConditionFailed as exc:
            raise Conflict(self._current(record.id, exc)) from exc

    def move(
        self,
        record: SessionRecord,
        *,
        old_id: str,
        expected: Version,
        now: int,
        put: Item | None = None,
        delete: str | None = None,
    ) -> None:
        """Put a record under a new id and a tombstone over the one that was loaded, or neither.

        With it an item of another kind is put and one deleted, where told. Raises Conflict with
        what stands under the old id, also if an earlier request put it there, or FateUnknown.
        """
        buried = self._unchanged(old_id, expected, now)
        del buried["Key"]
        try:
            self._transact(
                {"Put": self._new(record, now)},
                {"Put": buried | {"Item": Tombstone(old_id, now).to_item()}},
                *([{"Put": {"TableName": self._name, "Item": put}}] if put else []),
                *([{"Delete": self._one(delete)}] if delete else []),
            )
        except TransactionCanceled as exc:
            raise Conflict(self.find(old_id)) from exc

    def take_over(self, record: SessionRecord, *, mark: Item, now: int) -> None:
        """Put a record and an item that says so for good, both or neither.

        Raises RecordExists where either is there already, or was. Sent again, also late, it
        does nothing: the mark stays.
        """
        unmarked = {"ConditionExpression": "attribute_not_exists(id)"}
        for _ in range(REPEATS_MAX):
            try:
                self._transact(
                    {"Put": self._new(record, now)},
                    {"Put": {"TableName": self._name, "Item": mark, **unmarked}},
                )
            except TransactionCanceled as exc:
                if _is_ours(record, self.find(record.id)):
                    return
                raise RecordExists from exc
            except FateUnknown:
                if not _is_ours(record, self.find(record.id)):
                    continue
            return
        raise TableUnavailable

    def mark(self, session_id: str, *, expected: Version, mark: Item, now: int) -> bool:
        """Put an item if a record is as it was loaded; False if not.

        The record is put as it is: only to check it would be a right of its own in AWS. So
        it may be sent again, also late.
        """
        unchanged = self._unchanged(session_id, expected, now)
        del unchanged["Key"]
        record = self.get(session_id)
        if record is None:
            return False
        return self._transact_if(
            lambda: self.get_item(mark["id"]["S"]) == mark,
            {"Put": unchanged | {"Item": record.to_item()}},
            {"Put": {"TableName": self._name, "Item": mark}},
        )

    def give_back(self, session_id: str, *, expected: Version, mark_id: str, now: int) -> None:
        """Delete a record and its mark, both or neither: neither if it is not as it was loaded."""
        self._transact_if(
            lambda: self.get(session_id) is None,
            {"Delete": self._unchanged(session_id, expected, now)},
            {"Delete": self._one(mark_id)},
        )

    def get_data_key(self, period: int) -> PublishedKey | None:
        """Return the published data key of a period."""
        return once_more(partial(self._data_key, period))

    def _data_key(self, period: int) -> PublishedKey | None:
        item = self.get_item(data_key_id(self._namespace, period))
        if item is None:
            return None
        key = PublishedKey.from_item(item)
        if key.period != period:
            raise InvalidRecord("keyPeriod")
        return key

    def publish_data_key(self, key: PublishedKey) -> bool:
        """Publish the data key of its period; False when one is there already."""
        return self._put_data_key(key, ConditionExpression="attribute_not_exists(id)")

    def replace_data_key(self, key: PublishedKey, *, old: bytes) -> bool:
        """Put a data key in the place of the one with exactly the old blob; False if it is not."""
        return self._put_data_key(
            key,
            ConditionExpression="encryptedKey = :old",
            ExpressionAttributeValues={":old": {"B": old}},
        )

    def get_not_before(self, name: str | None = None) -> int:
        """Return the moment before which no session may have been created; 0 when none is set.

        With a name it is the moment of something else that began, such as a grant of tokens.
        """
        item = self.get_item(not_before_id(self._namespace, name))
        if item is None:
            return 0
        NOT_BEFORE.version_of(item)
        return number(item, "notBefore")

    def raise_not_before(self, moment: int, name: str | None = None, *, latest: int) -> bool:
        """Move that moment forward; back only from one after ``latest``, which counts for nobody.

        False when it stands as high already, and counts.
        """
        item_id = not_before_id(self._namespace, name)
        try:
            self._repeated(
                "put_item",
                TableName=self._name,
                Item=NOT_BEFORE.item(item_id) | {"notBefore": as_number(moment)},
                ConditionExpression=(
                    "attribute_not_exists(id) OR notBefore < :moment OR notBefore > :latest"
                ),
                ExpressionAttributeValues={
                    ":moment": as_number(moment),
                    ":latest": as_number(latest),
                },
            )
        except ConditionFailed:
            # It stands as high, or nothing is known.
            if not moment <= self.get_not_before(name) <= latest:
                raise TableUnavailable from None
            return False
        return True

    def _put(self, record: SessionRecord, condition: str, values: Item) -> None:
        self._write(
            "put_item",
            TableName=self._name,
            Item=_sized(record.to_item()),
            ConditionExpression=condition,
            ExpressionAttributeNames=_names_in(condition),
            ExpressionAttributeValues=values,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    def _put_data_key(self, key: PublishedKey, **condition: Any) -> bool:
        """Put a data key; sent again it meets itself, which whoever asked recognises."""
        try:
            self._repeated(
                "put_item",
                TableName=self._name,
                Item=key.to_item(data_key_id(self._namespace, key.period)),
                **condition,
            )
        except ConditionFailed:
            return False
        return True

    def _new(self, record: SessionRecord, now: int) -> dict[str, Any]:
        return {
            "TableName": self._name,
            "Item": _sized(record.to_item()),
            "ConditionExpression": _ABSENT,
            "ExpressionAttributeNames": _names_in(_ABSENT),
            "ExpressionAttributeValues": {":now": as_number(now)},
        }

    def _one(self, item_id: str) -> dict[str, Any]:
        return {"TableName": self._name, "Key": {"id": {"S": item_id}}}

    def _unchanged(self, session_id: str, expected: Version, now: int) -> dict[str, Any]:
        return {
            **self._one(session_id),
            "ConditionExpression": _UNCHANGED,
            "ExpressionAttributeNames": _names_in(_UNCHANGED),
            "ExpressionAttributeValues": _unchanged_values(expected, now),
        }

    def _current(
        self, session_id: str, failure: ConditionFailed
    ) -> SessionRecord | Tombstone | None:
        # Not every DynamoDB-compatible engine returns the item of a failed condition; another
        # one than was asked for counts for nothing, and what is not valid is read once more.
        if failure.item and failure.item.get("id") == {"S": session_id}:
            with suppress(InvalidRecord):
                return _stored(failure.item)
        return self.find(session_id)


def _stored(item: Item) -> SessionRecord | Tombstone:
    return tombstone_in(item) or SessionRecord.from_item(item)


def _is_ours(record: SessionRecord, current: SessionRecord | Tombstone | None) -> bool:
    """Tell whether a first record was put although its answer was lost: its salt is fresh."""
    if not isinstance(current, SessionRecord):
        return False
    return current.salt == record.salt or descends(current.ancestors, record.salt)


def _sized(item: Item) -> Item:
    if (size := item_size(item)) > ITEM_MAX_BYTES:
        raise SessionTooLarge(size, ITEM_MAX_BYTES)
    return item


def _unchanged_values(expected: Version, now: int) -> Item:
    return {
        ":revision": as_number(expected.revision),
        ":salt": {"B": expected.salt},
        ":now": as_number(now),
    }


def _names_in(condition: str) -> dict[str, str]:
    return {f"#{name}": name for name in re.findall(r"#(\w+)", condition)}
