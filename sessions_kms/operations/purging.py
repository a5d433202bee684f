"""Deleting sessions from the table: those up to a cutoff, of a data key, or expired.

Each delete has its reason as a condition, so that a session that was renewed or created meanwhile
stays. The methods yield the number of items scanned; `Cleared` counts the results.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import KnownKeys
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format import item_types
from sessions_kms.format.attributes import Item, as_binary, as_number, number
from sessions_kms.format.item_types import ItemType
from sessions_kms.format.record import CLOCK_SKEW, RecordHead
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Ownership
from sessions_kms.operations.table_scan import TableScan
from sessions_kms.services import Services
from sessions_kms.signals import announce, session_ended
from sessions_kms.storage.published_keys import PREPARED_AHEAD, data_key_period
from sessions_kms.storage.writes import Condition, ended_until


@dataclass
class Cleared:
    """Counts of one scan. ``doubtful`` sessions stay: KMS could not say whose they are.

    ``earlier`` of the deleted sessions were written before the scans began, or under a data key
    that was used before. ``prepared`` are deleted data keys of periods that are far ahead.
    """

    scanned: int = 0
    deleted: int = 0
    doubtful: int = 0
    earlier: int = 0
    prepared: int = 0


@dataclass
class Clearing:
    """Scans of the table that delete. All methods raise TableUnavailable."""

    services: Services
    cleared: Cleared = field(default_factory=Cleared)

    def __post_init__(self) -> None:
        """Remember which data keys are ours from one scan to the next."""
        self._namespace = self.services.config.namespace
        self._ownership = Ownership(self.services)
        self._earlier_keys: KnownKeys[bool] = KnownKeys()

    def delete_created(self, until: int) -> Iterator[int]:
        """Delete this namespace's sessions that were created up to a time."""
        table, created = self.services.table, created_until(until)
        return self._sessions(
            lambda record: record.created_at <= until,
            lambda record: run_sync(table.delete(record.id, when=created, expected=_known(record))),
            ends=attrgetter("ends_with_sessions"),
        )

    def delete_sealed(self, period: int, *, but: bytes | None, since: float) -> Iterator[int]:
        """Delete this namespace's sessions that were sealed in a period, without one data key.

        Prepared data keys are deleted, too. Sessions that were written up to ``since`` count as
        earlier; others are those of processes that still make data keys for this period.
        """
        table, sealed = self.services.table, sealed_in(period, but=but)
        return self._sessions(
            lambda record: record.key_period == period and record.encrypted_key != but,
            lambda record: run_sync(table.delete(record.id, when=sealed, expected=_known(record))),
            ends=attrgetter("ends_with_data_key"),
            sealed_since=since,
        )

    def _count_earlier(self, deleted: list[RecordHead], since: float) -> None:
        for record in deleted:
            wrapped = (record.encrypted_key, record.key_period)
            if record.updated_at <= since:
                self._earlier_keys[wrapped] = True
            self.cleared.earlier += wrapped in self._earlier_keys

    def delete_expired(self, *, at_most: int) -> Iterator[int]:
        """Delete expired items of every namespace and type, as DynamoDB's TTL would."""
        # The clock that set the expiry may be behind this one.
        until = int(self.services.clock()) - CLOCK_SKEW
        table, ended = self.services.table, ended_until(until)
        with TableScan(self.services) as scan:
            for items in scan.pages():
                left = at_most - self.cleared.deleted
                ids = [item["id"]["S"] for item in items if _is_expired(item, until)][:left]
                self.cleared.deleted += sum(
                    scan.each(lambda item_id: run_sync(table.delete(item_id, when=ended)), ids)
                )
                yield self._scanned(items)
                if self.cleared.deleted >= at_most:
                    return

    def _sessions(
        self,
        chosen: Callable[[RecordHead], bool],
        delete: Callable[[RecordHead], bool],
        *,
        ends: Callable[[ItemType], bool],
        sealed_since: float | None = None,
    ) -> Iterator[int]:
        self.cleared = Cleared()
        # A stale read would miss sessions under a data key, which nothing else ends.
        is_of_key = sealed_since is not None
        with TableScan(self.services) as scan:
            for items in scan.pages(consistent=is_of_key):
                found = [record for record in _records(items) if chosen(record)]
                beside = [each for each in self._items_beside(items, ends) if chosen(each)]
                scan.each(delete, beside)
                ours = [record for record in found if self._is_ours(record)]
                deleted = scan.each(delete, ours)
                self.cleared.deleted += sum(deleted)
                self._announce(ours, deleted)
                if sealed_since is not None:
                    ended = [
                        each for each, was_there in zip(ours, deleted, strict=True) if was_there
                    ]
                    self._count_earlier(ended, sealed_since)
                    self._delete_prepared(scan, items)
                yield self._scanned(items)

    def _delete_prepared(self, scan: TableScan, items: list[Item]) -> None:
        """Delete data keys that no honest process has published."""
        table, latest = self.services.table, self.services.clock() + PREPARED_AHEAD
        periods = {item["id"]["S"]: data_key_period(self._namespace, item) for item in items}
        ids = [each for each, period in periods.items() if period is not None and period > latest]
        deleted = scan.each(lambda item_id: run_sync(table.delete(item_id)), ids)
        self.cleared.prepared += sum(deleted)

    def _items_beside(
        self, items: list[Item], ends: Callable[[ItemType], bool]
    ) -> Iterator[RecordHead]:
        """Yield the items of this namespace that are no sessions, and end as these do."""
        for item in items:
            item_id = item["id"]["S"]
            item_type = item_types.find_type(item_id)
            if item_type is None or not ends(item_type):
                continue
            if item_type.is_in(self._namespace, item_id):
                yield from _head(item, item_type)

    def _is_ours(self, record: RecordHead) -> bool:
        try:
            return run_sync(self._ownership.is_ours(record))
        except KMSUnavailable:
            self.cleared.doubtful += 1
            return False

    def _announce(self, records: list[RecordHead], deleted: list[bool]) -> None:
        now = self.services.clock()
        for record, was_deleted in zip(records, deleted, strict=True):
            if was_deleted and ending.get_end(self.services, record) > now:
                announce(session_ended, record.id)

    def _scanned(self, items: list[Item]) -> int:
        self.cleared.scanned += len(items)
        return len(items)


def created_until(moment: int) -> Condition:
    """Return the condition that an item was created up to a time."""
    return Condition("#createdAt <= :until", {":until": as_number(moment)})


def sealed_in(period: int, *, but: bytes | None) -> Condition:
    """Return the condition that an item was sealed in a period, except with this data key."""
    if but is None:
        return Condition("#keyPeriod = :period", {":period": as_number(period)})
    values = {":period": as_number(period), ":but": as_binary(but)}
    return Condition("#keyPeriod = :period AND #encryptedKey <> :but", values)


def _known(record: RecordHead) -> Item:
    """Return the attributes that the response to the record's deletion contains."""
    return {"salt": as_binary(record.salt)}


def _records(items: list[Item]) -> Iterator[RecordHead]:
    for item in items:
        if item_types.is_session_id(item["id"]["S"]):
            yield from _head(item, item_types.SESSION)


def _head(item: Item, item_type: ItemType) -> Iterator[RecordHead]:
    """Yield the unencrypted part of an item; nothing if the item is invalid."""
    with suppress(InvalidRecord):
        yield RecordHead.from_item(item, item_type)


def _is_expired(item: Item, until: int) -> bool:
    item_type = item_types.find_type(item["id"]["S"])
    if item_type is None or not item_type.is_cleared:
        return False
    try:
        return number(item, "ttl") <= until
    except InvalidRecord:
        return False
