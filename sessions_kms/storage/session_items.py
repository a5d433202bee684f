"""The records of sessions in the table, each under its session's id.

Works with records, and knows neither session keys nor plaintext. All methods raise
TableUnavailable if there is no usable response, and InvalidRecord if an item that they read
does not match the format.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import eq
from typing import Final, Protocol, TypeAlias

from sessions_kms.aws.errors import ConditionFailed, TransactionCanceled
from sessions_kms.exceptions import (
    FateUnknown,
    InvalidRecord,
    SessionTooLarge,
    TableUnavailable,
)
from sessions_kms.format.attributes import ITEM_MAX_BYTES, Item, as_binary, as_number, item_size
from sessions_kms.format.record import (
    HEAD_ATTRIBUTES,
    RecordHead,
    SessionRecord,
    Tombstone,
    descends,
    is_tombstone,
    read_stored,
)
from sessions_kms.storage.suspect_responses import Confirm
from sessions_kms.storage.table import Table, try_write
from sessions_kms.storage.writes import (
    ABSENT,
    REPEATS_MAX,
    Acknowledgement,
    Action,
    Condition,
    Delete,
    Put,
)

Stored: TypeAlias = SessionRecord | Tombstone | None

BESIDE_MAX: Final = 16 * 1024  # upper bound of the bytes of a record without its ciphertext

# The opposite of `is_tombstone`.
NO_TOMBSTONE: Final = Condition(
    "attribute_not_exists(#movedAt) OR attribute_exists(#encryptedData)"
    " OR attribute_exists(#authTag)"
)


class Version(Protocol):
    """The state of a stored record that a write expects to find."""

    @property
    def revision(self) -> int: ...
    @property
    def salt(self) -> bytes: ...


class RecordExists(Exception):
    """Another live record has this id."""


class Conflict(Exception):
    """The record is not as it was loaded; ``current`` is what is stored now, or None."""

    def __init__(self, current: Stored) -> None:
        super().__init__("The session record was changed meanwhile.")
        self.current = current


class SessionItems:
    """The records of sessions."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def find(self, session_id: str, *, confirm: Confirm = Confirm.ALWAYS) -> Stored:
        """Return what is stored under this id, expired or not."""
        item = await self._table.get(session_id, confirm=confirm)
        return None if item is None else read_stored(item)

    async def get(self, session_id: str) -> SessionRecord | None:
        """Return the record of this id, expired or not; None for a tombstone."""
        found = await self.find(session_id)
        return found if isinstance(found, SessionRecord) else None

    async def head(self, session_id: str) -> RecordHead | None:
        """Return the record of this id, expired or not, without its ciphertext."""
        item = await self._table.get(session_id, only=HEAD_ATTRIBUTES)
        return None if item is None or is_tombstone(item) else RecordHead.from_item(item)

    async def create(self, record: SessionRecord, *, now: int) -> None:
        """Put a record if there is none, or only an expired one.

        Raises RecordExists, or FateUnknown: then it may still be stored later. A record with
        an owner is read back, because the response to such a put is no evidence.
        """
        try:
            acknowledgement = await self._table.put_once(_item_of(record), when=_absent(now))
            if record.owner is not None:
                await self._check(record, acknowledgement)
        except ConditionFailed as exc:
            if not _is_ours(record, await self._current(record.id, exc)):
                raise RecordExists from exc
        except FateUnknown:
            if not _is_ours(record, await self.find(record.id)):
                raise

    async def replace(self, record: SessionRecord, *, expected: Version, now: int) -> None:
        """Replace the record that was loaded.

        Raises Conflict, also if an earlier attempt of this write is stored, or FateUnknown.
        """
        try:
            await self._table.put_once(_item_of(record), when=_unchanged(expected, now))
        except ConditionFailed as exc:
            raise Conflict(await self._current(record.id, exc)) from exc

    async def move(
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

        The same transaction may put another item and delete one. Raises Conflict with what is
        stored under the old id, also if an earlier attempt put it there, or FateUnknown.
        """
        try:
            acknowledgement = await self._table.transact(
                Put(_item_of(record), _absent(now)),
                Put(Tombstone(old_id, now).to_item(), _unchanged(expected, now)),
                *([Put(put)] if put else []),
                *([Delete(delete)] if delete else []),
            )
        except TransactionCanceled as exc:
            raise Conflict(await self.find(old_id)) from exc
        await self._check(record, acknowledgement)

    async def take_over(self, record: SessionRecord, *, mark: Item, now: int) -> None:
        """Put a record and its permanent mark, both or neither.

        Raises RecordExists if either exists, or existed. Sent again, also late, it does nothing:
        the mark stays.
        """
        put = Put(_item_of(record), _absent(now))
        is_ours = partial(_is_item_of, record)
        try:
            await self._transact_until_applied(record.id, is_ours, put, Put(mark, ABSENT))
        except TransactionCanceled as exc:
            if not is_ours(await self._table.get(record.id)):
                raise RecordExists from exc

    async def mark(self, session_id: str, *, expected: Version, mark: Item, now: int) -> bool:
        """Put an item if a record is as it was loaded; False if not.

        The record is put unchanged: a condition check would need another permission in AWS. So
        the transaction may be sent again, also late.
        """
        record = await self.get(session_id)
        if record is None:
            return False
        put = Put(record.to_item(), _unchanged(expected, now))
        is_there = partial(eq, mark)
        writes = self._transact_until_applied(mark["id"]["S"], is_there, put, Put(mark))
        return await try_write(writes)

    async def give_back(
        self, session_id: str, *, expected: Version, mark_id: str, now: int
    ) -> None:
        """Delete a record and its mark, both or neither: neither if it is not as it was loaded."""
        delete = Delete(session_id, _unchanged(expected, now))
        await try_write(
            self._transact_until_applied(session_id, _is_no_record, delete, Delete(mark_id))
        )

    async def end(
        self,
        session_id: str,
        *,
        salt: bytes | None = None,
        note: Callable[[Item], None] = lambda _: None,
    ) -> bool:
        """Delete a session's record; return False for a tombstone, which stays.

        ``salt`` is the record's, if it is known: then the response alone proves the deletion.
        ``note`` is called with the deleted item, if the response has it.
        """
        expected = None if salt is None else {"salt": as_binary(salt)}
        for _ in range(REPEATS_MAX):
            try:
                deleted = await self._table.delete_or_raise(
                    session_id, when=NO_TOMBSTONE, expected=expected
                )
            except ConditionFailed as exc:
                item = exc.item
                if item is None or item.get("id") != {"S": session_id}:
                    item = await self._table.get(session_id)
                if item is None:
                    return True
                if is_tombstone(item):
                    return False
            else:
                if deleted is not None:
                    note(deleted)
                return True
        raise TableUnavailable

    async def end_since(self, head: RecordHead) -> bool:
        """Delete a session's record, unless somebody has signed in to it since it was read.

        Return False also if it has moved to another id.
        """
        created_at = as_number(head.created_at)
        when = Condition("#createdAt = :createdAt", {":createdAt": created_at})
        try:
            expected = {"salt": as_binary(head.salt)}
            await self._table.delete_or_raise(head.id, when=when, expected=expected)
        except ConditionFailed as exc:
            return await self._current(head.id, exc) is None  # A response to this delete was lost.
        return True

    async def _transact_until_applied(
        self, item_id: str, is_as_written: Callable[[Item | None], bool], *actions: Action
    ) -> None:
        """Send a transaction that may be applied twice, or late, until the item is as written.

        Raises TransactionCanceled.
        """
        for _ in range(REPEATS_MAX):
            try:
                acknowledgement = await self._table.transact(*actions)
            except FateUnknown:
                if is_as_written(await self._table.get(item_id)):
                    return
            else:
                if await self._table.is_as_written(item_id, is_as_written, acknowledgement):
                    return
        raise TableUnavailable

    async def _check(self, record: SessionRecord, acknowledgement: Acknowledgement) -> None:
        """Raise FateUnknown unless a record that DynamoDB acknowledged is stored."""
        return await self._table.require_as_written(
            record.id, partial(_is_item_of, record), acknowledgement
        )

    async def _current(self, session_id: str, failure: ConditionFailed) -> Stored:
        # Not every DynamoDB-compatible engine returns the item of a failed condition. An item with
        # another id is ignored, and an invalid one is read again.
        if failure.item and failure.item.get("id") == {"S": session_id}:
            with suppress(InvalidRecord):
                return read_stored(failure.item)
        return await self.find(session_id)


def _is_item_of(record: SessionRecord, item: Item | None) -> bool:
    return item is not None and _is_ours(record, read_stored(item))


def _is_no_record(item: Item | None) -> bool:
    return item is None or is_tombstone(item)


def _is_ours(record: SessionRecord, current: Stored) -> bool:
    """Return True if the record was stored although the response was lost: its salt is unique."""
    if not isinstance(current, SessionRecord):
        return False
    return current.salt == record.salt or descends(current.ancestors, record.salt)


def _item_of(record: SessionRecord) -> Item:
    """Return the item of a record. Raises SessionTooLarge, before any call."""
    item = record.to_item()
    may_be_larger = len(record.encrypted_data) > ITEM_MAX_BYTES - BESIDE_MAX
    if may_be_larger and (size := item_size(item)) > ITEM_MAX_BYTES:
        raise SessionTooLarge(size, ITEM_MAX_BYTES)
    return item


def _absent(now: int) -> Condition:
    return Condition("attribute_not_exists(#id) OR #ttl <= :now", {":now": as_number(now)})


def _unchanged(expected: Version, now: int) -> Condition:
    return Condition(
        "#revision = :revision AND #salt = :salt AND #ttl > :now",
        {
            ":revision": {"N": str(expected.revision)},
            ":salt": {"B": expected.salt},
            ":now": {"N": str(now)},
        },
        expected={"salt": {"B": expected.salt}},
    )
