"""Sealed documents: small things that a whole fleet shares and that belong to no session.

A document has a name and some bytes, such as a client registration of the gateway itself. It is
sealed under the data key and a secret derived from its id, as session metadata is, so reading it
requires KMS and the table. It must not contain what belongs to a person.

A document ends 400 days after its last write. One that is read is written again in time, so none
that is in use ends. The end of a leaked data key ends those sealed under it. Its `ttl` does not
count, since a writer of the table may choose it.
"""

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from sessions_kms.aws.clock import has_passed
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable, TableUnavailable
from sessions_kms.format.attributes import Item, as_binary, binary
from sessions_kms.format.item_types import DOCUMENT
from sessions_kms.format.record import LONGEST_AGE, SessionRecord
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import retry_invalid_read
from sessions_kms.telemetry import telemetry

logger = logging.getLogger(__name__)

CONTENT_MAX: Final = 64 * 1024  # bytes
RENEWED_AFTER: Final = 30 * 86_400  # seconds after its last write until a read writes it again
STAMP_BYTES: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9._/-]{1,200}")


@dataclass(frozen=True)
class StoredDocument:
    """The content of a document. ``version`` changes with each write; `store` expects it."""

    content: bytes = field(repr=False)
    version: bytes = field(repr=False)


class SealedDocuments:
    """The documents of one namespace. All methods raise StoreUnavailable without a usable response.

    A name has up to 200 of the characters ``A-Za-z0-9._/-``, and is not secret.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sealing = Sealing(services)

    async def load(self, name: str) -> StoredDocument | None:
        """Return the stored document, by a consistent read; None if there is none, or it has ended.

        One that cannot be decrypted raises TableUnavailable: it must not count as missing.
        """
        __traceback_hide__ = True
        item_id = self.id_of(name)
        try:
            found = await retry_invalid_read(partial(self._read, item_id))
        except InvalidRecord as exc:
            logger.error("The document %s was refused: %s", name, exc.reason)  # noqa: TRY400
            telemetry.count("refusals", reason=exc.reason)
            raise TableUnavailable(f"The document {name} cannot be read.") from None
        if found is None:
            return None
        document, updated_at = found
        if self._services.clock() - updated_at < RENEWED_AFTER:
            return document
        return await self._renew(name, document)

    async def store(self, name: str, content: bytes, *, expected: bytes | None) -> bool:
        """Store content in place of the expected version, or of none or one that has ended.

        Return False if another version is stored. Raises ValueError for more than `CONTENT_MAX`
        bytes.
        """
        __traceback_hide__ = True
        return await self._put(name, content, expected) is not None

    async def delete(self, name: str) -> None:
        """Delete a document, if there is one, also one that cannot be read."""
        await self._services.table.delete(self.id_of(name))

    def id_of(self, name: str) -> str:
        """Return the id of the item of a document. Raises ValueError for an invalid name."""
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"Not a name of a document: {name[:200]!r}")
        return DOCUMENT.id_in(self._services.config.namespace, name)

    async def _read(self, item_id: str) -> tuple[StoredDocument, int] | None:
        """Return a document, and when it was last written."""
        __traceback_hide__ = True
        item = await self._services.table.get(item_id)
        if item is None:
            return None
        record, stamp = _parse(item)
        if self._is_over(record):
            return None
        if len(record.encrypted_data) > CONTENT_MAX:
            raise InvalidRecord("encryptedData")
        content = await self._sealing.open(record, record.id, DOCUMENT)
        return StoredDocument(content, stamp), record.updated_at

    async def _renew(self, name: str, document: StoredDocument) -> StoredDocument:
        """Write an old document again, under the current data key, if that can be done now."""
        __traceback_hide__ = True
        with suppress(StoreUnavailable):
            version = await self._put(name, document.content, document.version)
            if version is not None:
                return replace(document, version=version)
        return document

    async def _put(self, name: str, content: bytes, expected: bytes | None) -> bytes | None:
        """Seal and put a document; return its version, or None if another one is stored."""
        __traceback_hide__ = True
        if len(content) > CONTENT_MAX:
            raise ValueError(f"A document has at most {CONTENT_MAX} bytes.")
        item_id, stamp = self.id_of(name), os.urandom(STAMP_BYTES)
        record = await self._sealing.seal_item(
            content,
            item_id,
            item_id=item_id,
            item_type=DOCUMENT,
            ttl=int(self._services.clock()) + LONGEST_AGE,
        )
        table, item = self._services.table, record.to_item() | {"stamp": as_binary(stamp)}
        was_put = await table.put_stamped(item, expected=expected)
        if not was_put and expected is None and (ended := await self._find_ended(item_id)):
            was_put = await table.put_stamped(item, expected=ended)
        return stamp if was_put else None

    async def _find_ended(self, item_id: str) -> bytes | None:
        """Return the stamp of a stored document that has ended."""
        item = await self._services.table.get(item_id)
        with suppress(InvalidRecord):
            if item is not None:
                record, stamp = _parse(item)
                return stamp if self._is_over(record) else None
        return None

    def _is_over(self, record: SessionRecord) -> bool:
        return has_passed(self._services.clock, record.updated_at + LONGEST_AGE)


def _parse(item: Item) -> tuple[SessionRecord, bytes]:
    """Return the record and the stamp of a document. Raises InvalidRecord."""
    return SessionRecord.from_item(item, DOCUMENT), binary(item, "stamp", STAMP_BYTES)
