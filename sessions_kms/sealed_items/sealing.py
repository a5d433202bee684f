"""Seals serialized bytes as records, and opens them, with the services' data keys and clock."""

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, SessionTooLarge
from sessions_kms.format import envelope
from sessions_kms.format.attributes import ITEM_MAX_BYTES, IV_BYTES, SALT_BYTES
from sessions_kms.format.item_types import SESSION, ItemType, owner_of, session_id
from sessions_kms.format.record import Header, SessionRecord
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import AHEAD, log_alarm


@dataclass(slots=True)
class Seal:
    """A payload with the data key to seal it, and the time of sealing in epoch seconds."""

    namespace: str
    payload: bytes = field(repr=False)
    data_key: DataKey
    now: int

    def record(
        self,
        session_key: str,
        *,
        revision: int,
        created_at: int,
        ttl: int,
        user_id: Any = None,
        item_id: str | None = None,
        item_type: ItemType = SESSION,
        ancestors: bytes = b"",
    ) -> SessionRecord:
        """Seal it as the session of this key; the table checks the size of the whole item.

        ``item_id`` is the id for the session key, if it is known already, or that of another
        ``item_type``, whose secret replaces the session key.
        """
        __traceback_hide__ = True
        header = Header(
            id=item_id or session_id(self.namespace, session_key),
            created_at=created_at,
            updated_at=self.now,
            ttl=ttl,
            revision=revision,
            owner=owner_of(self.namespace, user_id),
            version=item_type.written,
        )
        fresh = os.urandom(SALT_BYTES + IV_BYTES)
        return envelope.seal(
            self.payload,
            header,
            namespace=self.namespace,
            session_key=session_key,
            data_key=self.data_key.plaintext,
            encrypted_key=self.data_key.encrypted,
            key_period=self.data_key.period,
            salt=fresh[:SALT_BYTES],
            iv=fresh[SALT_BYTES:],
            ancestors=ancestors,
            item_type=item_type,
        )


class Sealing:
    """Sealing and opening with the data keys of some services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def seal(self, payload: bytes) -> Seal:
        """Return the seal for serialized bytes. Raises SessionTooLarge or StoreUnavailable."""
        __traceback_hide__ = True
        if len(payload) > ITEM_MAX_BYTES:
            raise SessionTooLarge(len(payload), ITEM_MAX_BYTES)
        data_key = await self._services.sealing_key()
        # A data key must not seal before its period, even if the clock was set back meanwhile.
        now = max(int(self._services.clock()), data_key.period)
        return Seal(self._services.config.namespace, payload, data_key, now)

    async def seal_item(
        self,
        payload: bytes,
        secret: str,
        *,
        item_id: str,
        item_type: ItemType,
        ttl: int,
        created_at: int | None = None,
    ) -> SessionRecord:
        """Return the record of an item other than a session, sealed under its own secret.

        It counts as created now unless ``created_at`` is given. Raises as `seal` does.
        """
        __traceback_hide__ = True
        seal = await self.seal(payload)
        return seal.record(
            secret,
            revision=1,
            created_at=seal.now if created_at is None else created_at,
            ttl=ttl,
            item_id=item_id,
            item_type=item_type,
        )

    async def open(
        self, record: SessionRecord, session_key: str, item_type: ItemType = SESSION
    ) -> bytes:
        """Open a record, with its own secret if it is of another ``item_type`` than a session.

        Raises InvalidRecord or StoreUnavailable.
        """
        __traceback_hide__ = True
        services = self._services
        if record.is_ahead(services.clock()):
            raise log_alarm("updated_in_future", AHEAD)
        record.check_times()
        open_with = partial(
            envelope.open_,
            record,
            namespace=services.config.namespace,
            session_key=session_key,
            item_type=item_type,
        )
        data_key = await services.keyring.unwrap(record.encrypted_key, record.key_period)
        try:
            return open_with(data_key=data_key.plaintext)
        except InvalidRecord as exc:
            if exc.reason != "commitment":
                raise
        # The data key is not the record's: before the record is rejected, KMS is called again.
        again = await services.keyring.confirmed(data_key)
        try:
            return open_with(data_key=again.plaintext)
        except InvalidRecord:
            if again.plaintext == data_key.plaintext:
                raise
        raise log_alarm("data_key", "KMS unwraps a data key to different bytes each time.")
