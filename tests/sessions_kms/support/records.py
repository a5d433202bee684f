"""Records of random bytes, and how they are stored."""

import os
from typing import Any

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import session_id
from sessions_kms.format.record import SessionRecord
from sessions_kms.storage.session_items import SessionItems

NOW = 1_800_000_000

PERIOD = 1_799_971_200


def make_record(name: str = "a", **changes: Any) -> SessionRecord:
    """Make a record of random bytes: the table does not look inside."""
    values: dict[str, Any] = {
        "id": session_id("django", name * 32),
        "created_at": NOW,
        "updated_at": NOW,
        "ttl": NOW + 1000,
        "revision": 1,
        "key_period": PERIOD,
        "encrypted_key": os.urandom(200),
        "salt": os.urandom(16),
        "commitment": os.urandom(32),
        "iv": os.urandom(12),
        "encrypted_data": os.urandom(100),
        "auth_tag": os.urandom(16),
    }
    return SessionRecord(**(values | changes))


def create_record(records: SessionItems, name: str = "a", **changes: Any) -> SessionRecord:
    made = make_record(name, **changes)
    run_sync(records.create(made, now=NOW))
    return made


def next_record(old: SessionRecord, **changes: Any) -> SessionRecord:
    """Make the record that a save puts in the place of one."""
    return make_record(id=old.id, revision=old.revision + 1, **changes)
