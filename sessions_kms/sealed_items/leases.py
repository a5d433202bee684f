"""Leases: work that must be done once for any number of processes, and its result.

A lease is named by a secret that all callers know, so that it does not depend on a session or its
key. Its item has the current holder and its deadline, and afterwards the result, sealed under the
data key and that secret, as a session is under its cookie. Later callers, and those that take over
from a dead holder, find the result there.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.attributes import Item, as_binary, as_number, as_text, binary, number, text
from sessions_kms.format.item_types import LEASE, lease_id
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import Confirm

CLOCK_DIFFERENCE = 5  # seconds by which the clocks of two processes may differ
KEPT_UNFINISHED = 3600  # seconds until DynamoDB may delete a lease without a result
STAMP_BYTES = 16
TRIES = 10


@dataclass(frozen=True)
class Claim:
    """The outcome of a claim. ``wait`` is in seconds, until the current holder's lease ends."""

    held: bool
    result: bytes | None = None
    wait: float = 0.0

    def __repr__(self) -> str:
        """Show whether there is a result, without its content."""
        return f"Claim(held={self.held}, result={self.result is not None}, wait={self.wait})"


@dataclass(frozen=True)
class _Lease:
    """The stored state of a lease."""

    holder: str
    ends: int
    ttl: int
    stamp: bytes
    item: Item

    @property
    def finished(self) -> bool:
        return "encryptedData" in self.item

    @property
    def free_at(self) -> int:
        """When the lease has ended by the clock of every process."""
        return 0 if self.finished else self.ends + CLOCK_DIFFERENCE

    @classmethod
    def of(cls, item: Item) -> "_Lease":
        LEASE.version_of(item)
        return cls(
            text(item, "holder"),
            number(item, "ends"),
            number(item, "ttl"),
            binary(item, "stamp", STAMP_BYTES),
            item,
        )


class Leases:
    """The leases of one namespace. All methods raise StoreUnavailable without a usable response."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sealing = Sealing(services)

    async def claim(self, secret: str, holder: str, *, seconds: int) -> Claim:
        """Take the lease for so many seconds, unless it is held or its work is done."""
        __traceback_hide__ = True
        for _ in range(TRIES):
            # If it exists, the put fails.
            lease = await self._get(secret, confirm=Confirm.NEVER)
            now = self._services.clock()
            if lease and lease.finished and lease.ttl > now:
                return Claim(held=False, result=await self._open(lease, secret))
            wait = lease.free_at - now if lease and lease.holder != holder else 0
            if wait > 0:
                return Claim(held=False, wait=wait)
            if await self._put(secret, holder, seconds, lease):
                return Claim(held=True)
        raise TableUnavailable("The lease is claimed by too many at once.")

    async def renew(self, secret: str, holder: str, *, seconds: int) -> bool:
        """Extend the lease to so many seconds from now; return False if another has it."""
        __traceback_hide__ = True
        lease = await self._get_own(secret, holder)
        return lease is not None and await self._put(secret, holder, seconds, lease)

    async def complete(self, secret: str, holder: str, result: bytes, *, keep: int) -> bytes | None:
        """Seal and store the result for so many seconds.

        Returns the stamp of what is stored, for `replace`; None if another has the lease.
        """
        __traceback_hide__ = True
        item = await self._seal(secret, holder, result, keep)
        for _ in range(TRIES):  # The holder's renewal may interfere.
            lease = await self._get_own(secret, holder)
            if lease is None:
                return None
            if await self._services.table.put_stamped(item, expected=lease.stamp):
                return binary(item, "stamp", STAMP_BYTES)
        raise TableUnavailable("The lease is written by too many at once.")

    async def replace(
        self, secret: str, holder: str, result: bytes, *, stamp: bytes, keep: int
    ) -> bool:
        """Store a result anew for so many seconds from now, if the one of this stamp is stored."""
        __traceback_hide__ = True
        item = await self._seal(secret, holder, result, keep)
        return await self._services.table.put_stamped(item, expected=stamp)

    async def release(self, secret: str, holder: str) -> None:
        """Release the lease without a result, so that the next caller need not wait."""
        __traceback_hide__ = True
        lease = await self._get_own(secret, holder)
        if lease is not None:
            await self._put(secret, holder, -CLOCK_DIFFERENCE, lease)

    async def _seal(self, secret: str, holder: str, result: bytes, keep: int) -> Item:
        __traceback_hide__ = True
        ttl = math.floor(self._services.clock()) + keep
        record = await self._sealing.seal_item(
            result, secret, item_id=self.id_of(secret), item_type=LEASE, ttl=ttl
        )
        return record.to_item() | _holding(holder, 0)

    async def _get_own(self, secret: str, holder: str) -> _Lease | None:
        __traceback_hide__ = True
        lease = await self._get(secret)
        return lease if lease and lease.holder == holder and not lease.finished else None

    async def _get(self, secret: str, confirm: Confirm = Confirm.ALWAYS) -> _Lease | None:
        __traceback_hide__ = True
        item = await self._services.table.get(self.id_of(secret), confirm=confirm)
        with _refusing():
            return None if item is None else _Lease.of(item)

    async def _open(self, lease: _Lease, secret: str) -> bytes:
        __traceback_hide__ = True
        with _refusing():
            record = SessionRecord.from_item(lease.item, LEASE)
            if record.id != self.id_of(secret):
                raise InvalidRecord("id")
            return await self._sealing.open(record, secret, LEASE)

    async def _put(self, secret: str, holder: str, seconds: int, before: _Lease | None) -> bool:
        __traceback_hide__ = True
        now = math.floor(self._services.clock())
        item = LEASE.item(self.id_of(secret)) | {"ttl": as_number(now + KEPT_UNFINISHED)}
        return await self._services.table.put_stamped(
            item | _holding(holder, now + seconds), expected=before.stamp if before else None
        )

    def id_of(self, secret: str) -> str:
        """Return the id of the item of a lease with this secret."""
        __traceback_hide__ = True
        return lease_id(self._services.config.namespace, secret)


def _holding(holder: str, ends: int) -> Item:
    return {
        "holder": as_text(holder),
        "ends": as_number(max(0, ends)),
        "stamp": as_binary(os.urandom(STAMP_BYTES)),
    }


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise TableUnavailable for an invalid item: repeating the work may do harm."""
    try:
        yield
    except InvalidRecord:
        raise TableUnavailable("The lease cannot be read.") from None
