"""Serialized bytes -> record, and back, with the data key, the clock and the randomness of now.

Both are steps where they wait for a data key; to seal with one takes no time.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

from sessions_kms.concurrency.steps import Call, Steps
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, SessionTooLarge
from sessions_kms.format import envelope
from sessions_kms.format.record import (
    ITEM_MAX_BYTES,
    IV_BYTES,
    SALT_BYTES,
    Header,
    SessionRecord,
    owner_of,
    session_id,
)
from sessions_kms.services import Services
from sessions_kms.storage.doubts import AHEAD, alarmed


@dataclass(frozen=True)
class Seal:
    """The data key to seal with, and the moment (epoch seconds) at which it is used."""

    data_key: DataKey
    now: int


def ready(services: Services, payload: bytes) -> Steps[Seal]:
    """Return what a payload is to be sealed with now.

    Raises SessionTooLarge (what the record adds is counted by the table) or StoreUnavailable.
    """
    __traceback_hide__ = True
    if len(payload) > ITEM_MAX_BYTES:
        raise SessionTooLarge(len(payload), ITEM_MAX_BYTES)
    data_key: DataKey = yield Call(services.sealing_key)
    # A data key must not seal before its period, even if the clock was set back meanwhile.
    return Seal(data_key, max(int(services.clock()), data_key.period))


def seal_session(
    services: Services,
    payload: bytes,
    seal: Seal,
    *,
    session_key: str,
    revision: int,
    created_at: int,
    ttl: int,
    user_id: Any = None,
    item_id: str | None = None,
    ancestors: bytes = b"",
) -> SessionRecord:
    """Seal a serialized session that was created at a moment and ends at another.

    ``item_id`` is what the session key leads to, where that is known already; or of another
    item than a session, whose secret takes the place of the session key.
    """
    __traceback_hide__ = True
    namespace, data_key = services.config.namespace, seal.data_key
    header = Header(
        id=item_id or session_id(namespace, session_key),
        created_at=created_at,
        updated_at=seal.now,
        ttl=ttl,
        revision=revision,
        owner=owner_of(namespace, user_id),
    )
    record = envelope.seal(
        payload,
        header,
        namespace=namespace,
        session_key=session_key,
        data_key=data_key.plaintext,
        encrypted_key=data_key.encrypted,
        key_period=data_key.period,
        salt=os.urandom(SALT_BYTES),
        iv=os.urandom(IV_BYTES),
    )
    return replace(record, ancestors=ancestors)


def open_record(services: Services, record: SessionRecord, session_key: str) -> Steps[bytes]:
    """Open a record. Raises InvalidRecord or StoreUnavailable."""
    __traceback_hide__ = True
    if record.is_ahead(services.clock()):
        raise alarmed("updated_in_future", AHEAD)
    record.check_times()
    keyring = services.keyring
    data_key = yield Call(keyring.unwrap, (record.encrypted_key, record.key_period))
    try:
        return _opened(services, record, session_key, data_key)
    except InvalidRecord as exc:
        if exc.reason != "commitment":
            raise
    # Another data key than the record's: before that is its fault, KMS is asked once more.
    again = yield Call(keyring.confirmed, (data_key,))
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
