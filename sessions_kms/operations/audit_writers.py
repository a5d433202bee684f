"""What authenticates an audit log: MACs of its checkpoints by KMS, and the last one of each writer.

A writer is one process's chain of events. Its last checkpoint is stored in the table under
`audit#<namespace>#<writer>`, so that a log that lacks the writer, or its end, can be detected.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_kms.aws.kms import KMS
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format.attributes import as_binary, as_number, as_text, binary, number
from sessions_kms.format.item_types import AUDIT_WRITER, audit_owner, audit_writer_id
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import retry_invalid_read

STAMP_BYTES: Final = 16
CHECKPOINT_MAX: Final = 16 * 1024  # bytes
DAY: Final = 24 * 3600
KEPT: Final = 400 * DAY  # seconds from a writer's last checkpoint


@dataclass(frozen=True)
class AuditWriter:
    """A writer's last checkpoint: its number in the chain, and its line in the log.

    ``created_at`` is when the writer began, in epoch seconds. ``stamp`` identifies the stored
    version; None before the first.
    """

    name: str
    created_at: int
    number: int = 0
    checkpoint: bytes = field(default=b"", repr=False)
    stamp: bytes | None = field(default=None, repr=False)


class AuditWriters:
    """The stored writers of a namespace, and the HMAC key. All raise StoreUnavailable.

    ``former_keys`` are the ARNs of keys that signed before the current one.
    """

    def __init__(
        self, services: Services, kms: KMS | None = None, former_keys: Sequence[str] = ()
    ) -> None:
        self._services = services
        self._kms = kms or KMS()
        self._former_keys = former_keys

    def sign(self, message: bytes) -> bytes:
        """Return the MAC of a message under the audit key."""
        return self._kms.generate_mac(self._key, message)

    def is_signed(self, message: bytes, mac: bytes) -> bool:
        """Return True if the audit key, or a former one, made this MAC of a message."""
        keys = (self._key, *self._former_keys)
        return any(self._kms.is_mac_valid(key, message, mac) for key in keys)

    def put(self, writer: AuditWriter) -> AuditWriter | None:
        """Store a writer in place of its version with this stamp; return the stored one.

        Return None if another version is stored: a write that was late, or somebody else's.
        """
        namespace, stamp = self._services.config.namespace, os.urandom(STAMP_BYTES)
        item = AUDIT_WRITER.item(audit_writer_id(namespace, writer.name)) | {
            "owner": as_text(audit_owner(namespace)),
            "createdAt": as_number(writer.created_at),
            "ttl": as_number(int(self._services.clock()) + KEPT),
            "stamp": as_binary(stamp),
            "number": as_number(writer.number),
            "checkpoint": as_binary(writer.checkpoint),
        }
        if not run_sync(self._services.table.put_stamped(item, expected=writer.stamp)):
            return None
        return AuditWriter(writer.name, writer.created_at, writer.number, writer.checkpoint, stamp)

    def get(self, name: str) -> AuditWriter | None:
        """Return a writer as it is stored. Raises InvalidRecord as well."""
        item_id = audit_writer_id(self._services.config.namespace, name)

        async def read() -> AuditWriter | None:
            item = await self._services.table.get(item_id)
            return None if item is None else _from_item(name, item)

        return run_sync(retry_invalid_read(read))

    def should_have(self, name: str, last_checkpoint: float) -> bool:
        """Return True if the table lacks a writer whose last checkpoint it should still have.

        This is a consistent read, unlike `names`.
        """
        is_kept = last_checkpoint > self._services.clock() - KEPT + DAY
        return is_kept and self.get(name) is None

    def names(self) -> list[str]:
        """Return the names of all writers, the newest first; the index lags behind."""
        owner = audit_owner(self._services.config.namespace)
        return self._names_in(run_sync(self._services.queries.owned_ids(owner)))

    def newest(self, limit: int) -> list[str]:
        """Return the names of the writers that began last."""
        owner = audit_owner(self._services.config.namespace)
        page = run_sync(self._services.queries.owned(owner, limit=limit))
        return self._names_in([item["id"]["S"] for item in page.items])

    def _names_in(self, ids: list[str]) -> list[str]:
        namespace = self._services.config.namespace
        start = len(audit_writer_id(namespace, ""))
        return [each[start:] for each in ids if AUDIT_WRITER.is_in(namespace, each)]

    @property
    def _key(self) -> str:
        key = self._services.config.audit_key_id
        if key is None:
            raise KMSUnavailable("AUDIT_KEY_ID is not set.")
        return key


def _from_item(name: str, item: Mapping[str, Any]) -> AuditWriter:
    AUDIT_WRITER.version_of(item)
    if not name:
        raise InvalidRecord("id")
    return AuditWriter(
        name,
        number(item, "createdAt"),
        number(item, "number"),
        binary(item, "checkpoint", 0, CHECKPOINT_MAX),
        binary(item, "stamp", STAMP_BYTES),
    )
