"""Moving wrapped data keys from previous KMS keys to the current one, while the site runs.

KMS re-wraps each distinct data key once, and unwraps it before and after: one wrong response would
make its sessions unreadable. No session is decrypted, and its revision stays. An item is changed
only if it still holds the data key that was read, so a scan can be killed, repeated, or run twice
at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import KMSKeyring, KnownKeys, WrappedKey
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import item_types
from sessions_kms.format.attributes import (
    ENCRYPTED_KEY_MAX_BYTES,
    Item,
    as_binary,
    as_number,
    binary,
    number,
    text,
)
from sessions_kms.operations.table_scan import TableScan
from sessions_kms.services import Services
from sessions_kms.storage.table import Table
from sessions_kms.storage.writes import equal


class NotMoved(Enum):
    """Why a data key is not moved."""

    CURRENT = auto()  # no previous KMS key wrapped it
    INVALID = auto()  # KMS rejects it: it belongs to another namespace or is forged


@dataclass(frozen=True)
class Holder:
    """An item and the wrapped data key that it holds."""

    item_id: str
    key: WrappedKey


@dataclass
class Moved:
    """Counts of one scan. ``found`` items held a data key wrapped by a previous KMS key."""

    scanned: int = 0
    found: int = 0
    moved: int = 0
    invalid: int = 0
    asked: int = 0  # distinct data keys that KMS re-wrapped or rejected


class Rewrapping:
    """Scans of the table that move data keys. All methods raise StoreUnavailable."""

    def __init__(self, services: Services, keyring: KMSKeyring, *, dry_run: bool = False) -> None:
        self.moved = Moved()
        self._services = services
        self._keyring = keyring
        self._dry_run = dry_run
        self._namespace = services.config.namespace
        self._owner_prefix = item_types.owner_prefix(self._namespace)
        self._known: KnownKeys[bytes | NotMoved] = KnownKeys()

    def move_published(self) -> None:
        """Move the data keys of the current and the next period before all others."""
        self.moved = Moved()
        length = self._services.config.data_key_period
        if not length:
            return
        current = self._services.period()
        found = [self._published(period) for period in (current, current + length)]
        with TableScan(self._services) as scan:
            self._move(scan, [item for item in found if item is not None])

    def settled_at(self) -> float:
        """Return when no process uses a data key wrapped by a previous KMS key any longer.

        A process fetches the published data key when it renews its own, and uses the cached one
        for as long as KMS or the table is unreachable.
        """
        config, now = self._services.config, self._services.clock()
        if not config.data_key_period:
            return now
        item = self._published(self._services.period_of(now))
        try:
            published_at = now if item is None else min(now, number(item, "createdAt"))
        except InvalidRecord:  # No process can use it, and nothing authenticates its time.
            published_at = now
        return published_at + config.data_key_cache_age + config.data_key_max_stale

    def scan(self) -> Iterator[int]:
        """Move all data keys in the table; yield the number of items scanned."""
        self.moved = Moved()
        with TableScan(self._services) as scan:
            for items in scan.pages(consistent=True):
                self._move(scan, items)
                self.moved.scanned += len(items)
                yield len(items)

    def _published(self, period: int) -> Item | None:
        return run_sync(self._services.table.get(item_types.data_key_id(self._namespace, period)))

    def _move(self, scan: TableScan, items: list[Item]) -> None:
        holders = [holder for item in items if (holder := self._holder(item)) is not None]
        outcomes = self._outcomes(scan, holders)
        old = [
            (each, new) for each in holders if not isinstance(new := outcomes[each.key], NotMoved)
        ]
        self.moved.found += len(old)
        self.moved.invalid += sum(outcomes[each.key] is NotMoved.INVALID for each in holders)
        if not self._dry_run:
            self.moved.moved += sum(scan.each(lambda pair: self._put(*pair), old))

    def _outcomes(
        self, scan: TableScan, holders: list[Holder]
    ) -> dict[WrappedKey, bytes | NotMoved]:
        keys = dict.fromkeys(holder.key for holder in holders)
        unknown = [key for key in keys if key not in self._known]
        self.moved.asked += len(unknown)
        asked = dict(zip(unknown, scan.each(self._rewrap, unknown), strict=True))
        outcomes = {key: asked[key] if key in asked else self._known[key] for key in keys}
        self._remember(asked)
        return outcomes

    def _rewrap(self, key: WrappedKey) -> bytes | NotMoved:
        try:
            new = run_sync(self._keyring.rewrap(*key))
        except InvalidRecord:
            return NotMoved.INVALID
        return NotMoved.CURRENT if new is None else new

    def _remember(self, asked: dict[WrappedKey, bytes | NotMoved]) -> None:
        for key, outcome in asked.items():
            self._known[key] = outcome
            if not isinstance(outcome, NotMoved):
                self._known[outcome, key[1]] = NotMoved.CURRENT

    def _put(self, holder: Holder, new: bytes) -> bool:
        is_published = item_types.find_type(holder.item_id) is item_types.DATA_KEY
        now = int(self._services.clock()) if is_published else None
        return put_wrapped(self._services.table, holder, new, created_at=now)

    def _holder(self, item: Item) -> Holder | None:
        """Return the data key of an item, or None for another namespace or no data key."""
        item_id = item["id"]["S"]
        if not self._may_be_ours(item, item_id):
            return None
        try:
            encrypted = binary(item, "encryptedKey", 1, ENCRYPTED_KEY_MAX_BYTES)
            return Holder(item_id, (encrypted, number(item, "keyPeriod")))
        except InvalidRecord:
            return None

    def _may_be_ours(self, item: Item, item_id: str) -> bool:
        item_type = item_types.find_type(item_id)
        if item_type is None or not item_type.is_rewrapped:
            return False
        if item_type is not item_types.SESSION:
            return item_type.is_in(self._namespace, item_id)
        try:
            return "owner" not in item or text(item, "owner").startswith(self._owner_prefix)
        except InvalidRecord:
            return False


def put_wrapped(table: Table, holder: Holder, new: bytes, *, created_at: int | None) -> bool:
    """Replace a wrapped data key; return False if the item does not hold it any more.

    ``created_at`` becomes the item's creation time, if given.
    """
    changes = {"encryptedKey": as_binary(new)}
    if created_at is not None:
        changes["createdAt"] = as_number(created_at)
    held = equal("encryptedKey", as_binary(holder.key[0]))
    return run_sync(table.update(holder.item_id, changes, when=held))
