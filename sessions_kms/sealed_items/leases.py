"""Work that must be done once, however many processes ask, and its result.

A lease is named by a secret that all who ask know, so that it does not depend on
a session or its key. Its item holds who works and until when, and afterwards the
result, sealed under the data key and that secret as a session is under its
cookie. Whoever comes later, or takes over from a holder that died, finds it there.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.attributes import Item, as_binary, as_number, as_text, binary, number, text
from sessions_kms.format.kinds import LEASE, lease_id
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items.sealing import open_record, seal_session
from sessions_kms.services import Services, services

CLOCK_DIFFERENCE = 5  # seconds by which the clocks of two processes may differ
KEPT_UNFINISHED = 3600  # seconds until DynamoDB may delete a lease without a result
STAMP_BYTES = 16
TRIES = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """What a claim found. ``wait`` is in seconds: when the present holder's lease ends."""

    held: bool
    result: bytes | None = None
    wait: float = 0.0

    def __repr__(self) -> str:
        """Show whether there is a result, not what it is."""
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
        """When nobody else's clock can say that the holder still works."""
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
    """The leases of one namespace. Every method raises StoreUnavailable when it cannot tell."""

    def __init__(self, made: Services | None = None) -> None:
        self._services = made or services()

    def claim(self, secret: str, holder: str, *, seconds: int) -> Claim:
        """Take the lease for so many seconds, unless it is held or its work is done."""
        __traceback_hide__ = True
        for _ in range(TRIES):
            lease, now = self._get(secret), self._services.clock()
            if lease and lease.finished and lease.ttl > now:
                return Claim(held=False, result=self._open(lease, secret))
            wait = lease.free_at - now if lease and lease.holder != holder else 0
            if wait > 0:
                return Claim(held=False, wait=wait)
            if self._put(secret, holder, seconds, lease):
                return Claim(held=True)
        raise TableUnavailable("The lease is claimed by too many at once.")

    def renew(self, secret: str, holder: str, *, seconds: int) -> bool:
        """Hold the lease for so many seconds from now; False when it went to another."""
        __traceback_hide__ = True
        lease = self._held(secret, holder)
        return lease is not None and self._put(secret, holder, seconds, lease)

    def complete(self, secret: str, holder: str, result: bytes, *, keep: int) -> bool:
        """Seal and store the result for so many seconds; False when the lease went to another."""
        __traceback_hide__ = True
        record = self._sealed(secret, result, keep)
        for _ in range(TRIES):  # The holder's own renewal may come between.
            lease = self._held(secret, holder)
            if lease is None:
                return False
            if self._put_item(record.to_item() | _holding(holder, 0), lease):
                return True
        raise TableUnavailable("The lease is written by too many at once.")

    def shorten(self, secret: str, *, keep: int) -> None:
        """Keep a result for so many seconds from now at most."""
        __traceback_hide__ = True
        lease = self._get(secret)
        if lease and lease.finished and lease.ttl > self._services.clock() + keep:
            record = self._sealed(secret, self._open(lease, secret), keep)
            self._put_item(record.to_item() | _holding(lease.holder, 0), lease)

    def release(self, secret: str, holder: str) -> None:
        """Give the lease up without a result, so that the next one need not wait."""
        __traceback_hide__ = True
        lease = self._held(secret, holder)
        if lease is not None:
            self._put(secret, holder, -CLOCK_DIFFERENCE, lease)

    def _sealed(self, secret: str, result: bytes, keep: int) -> SessionRecord:
        __traceback_hide__ = True
        return seal_session(
            self._services,
            result,
            session_key=secret,
            revision=1,
            created_at=None,
            ttl=lambda now, _: math.floor(now) + keep,
            item_id=self.id_of(secret),
            kind=LEASE,
        )

    def _held(self, secret: str, holder: str) -> _Lease | None:
        __traceback_hide__ = True
        lease = self._get(secret)
        return lease if lease and lease.holder == holder and not lease.finished else None

    def _get(self, secret: str) -> _Lease | None:
        __traceback_hide__ = True
        item = self._services.table.get(self.id_of(secret))
        return None if item is None else _refusing(lambda: _Lease.of(item))

    def _open(self, lease: _Lease, secret: str) -> bytes:
        __traceback_hide__ = True

        def opened() -> bytes:
            record = SessionRecord.from_item(lease.item, LEASE)
            if record.id != self.id_of(secret):
                raise InvalidRecord("id")
            return open_record(self._services, record, secret)

        return _refusing(opened)

    def _put(self, secret: str, holder: str, seconds: int, before: _Lease | None) -> bool:
        __traceback_hide__ = True
        now = math.floor(self._services.clock())
        item = LEASE.item(self.id_of(secret)) | {"ttl": as_number(now + KEPT_UNFINISHED)}
        return self._put_item(item | _holding(holder, now + seconds), before)

    def _put_item(self, item: Item, before: _Lease | None) -> bool:
        return self._services.table.put_stamped(item, expected=before.stamp if before else None)

    def id_of(self, secret: str) -> str:
        """Return the id of the item that a lease of this secret is kept in."""
        __traceback_hide__ = True
        return lease_id(self._services.config.namespace, secret)


def _holding(holder: str, ends: int) -> Item:
    return {
        "holder": as_text(holder),
        "ends": as_number(max(0, ends)),
        "stamp": as_binary(os.urandom(STAMP_BYTES)),
    }


def _refusing(read: Callable[[], T]) -> T:
    """Read; what is not whole cannot be told, since working again may do harm."""
    try:
        return read()
    except InvalidRecord:
        raise TableUnavailable("The lease cannot be read.") from None
