"""Serialized bytes -> record, and back, with the data key, the clock and the randomness of now."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, SessionTooLarge
from sessions_kms.format import envelope
from sessions_kms.format.attributes import ITEM_MAX_BYTES
from sessions_kms.format.kind import Kind
from sessions_kms.format.kinds import SESSION, owner_of, session_id
from sessions_kms.format.record import IV_BYTES, SALT_BYTES, Header, SessionRecord
from sessions_kms.services import Services
from sessions_kms.storage.doubts import AHEAD, alarmed


def seal_session(
    services: Services,
    payload: bytes,
    *,
    session_key: str,
    revision: int,
    created_at: int | None,
    ttl: Callable[[float, int], int],
    user_id: Any = None,
    item_id: str | None = None,
    kind: Kind = SESSION,
    ancestors: bytes = b"",
) -> SessionRecord:
    """Seal a serialized session. Without ``created_at`` it is created now.

    ``item_id`` is what the session key leads to, where that is known already; or of another
    ``kind`` of item, whose secret takes the place of the session key.

    ``ttl`` is asked for the end of a session saved at a time and created at another.
    Raises SessionTooLarge (what the record adds is counted by the table) or StoreUnavailable.
    """
    __traceback_hide__ = True
    if len(payload) > ITEM_MAX_BYTES:
        raise SessionTooLarge(len(payload), ITEM_MAX_BYTES)
    data_key = services.sealing_key()
    # A data key must not seal before its period, even if the clock was set back meanwhile.
    now = max(int(services.clock()), data_key.period)
    created_at = now if created_at is None else created_at
    header = Header(
        id=item_id or session_id(services.config.namespace, session_key),
        created_at=created_at,
        updated_at=now,
        ttl=ttl(now, created_at),
        revision=revision,
        owner=owner_of(services.config.namespace, user_id),
        version=kind.written,
    )
    record = envelope.seal(
        payload,
        header,
        namespace=services.config.namespace,
        session_key=session_key,
        data_key=data_key.plaintext,
        encrypted_key=data_key.encrypted,
        key_period=data_key.period,
        salt=os.urandom(SALT_BYTES),
        iv=os.urandom(IV_BYTES),
    )
    return replace(record, ancestors=ancestors)


def open_record(services: Services, record: SessionRecord, session_key: str) -> bytes:
    """Open a record. Raises InvalidRecord or StoreUnavailable."""
    __traceback_hide__ = True
    if record.is_ahead(services.clock()):
        raise alarmed("updated_in_future", AHEAD)
    record.check_times()
    data_key = services.keyring.unwrap(record.encrypted_key, record.key_period)
    try:
        return _opened(services, record, session_key, data_key)
    except InvalidRecord as exc:
        if exc.reason != "commitment":
            raise
    # Another data key than the record's: before that is its fault, KMS is asked once more.
    again = services.keyring.confirmed(data_key)
    try:
        return _opened(services, record, session_key, again)
    except InvalidRecord:
        if again.plaintext == data_key.plaintext:
            raise
    raise alarmed("data_key", "KMS unwraps a data key to different bytes each time.")


def _opened(
    services: Services, record: SessionRecord, session_key: str, data_key: DataKey
) -> bytes:
    __traceback_hide__ = True
    return envelope.open_(
        record,
        namespace=services.config.namespace,
        session_key=session_key,
        data_key=data_key.plaintext,
    )
