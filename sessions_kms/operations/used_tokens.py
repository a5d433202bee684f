"""Used logout tokens, stored by issuer and id until they expire, so that each is used only once."""

import os

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import as_binary, as_number
from sessions_kms.format.item_types import LOGOUT_TOKEN, logout_token_id
from sessions_kms.services import Services
from sessions_kms.storage.suspect_answers import Confirm

STAMP_BYTES = 16


def is_used(services: Services, issuer: str, token_id: str) -> bool:
    """Return True if a logout token was used before. Raises TableUnavailable."""
    item_id = _id(services, issuer, token_id)
    # An eventually consistent read is enough: a wrong False only ends the same sessions again.
    return run_sync(services.table.get(item_id, confirm=Confirm.NEVER)) is not None


def mark_used(services: Services, issuer: str, token_id: str, *, until: int) -> None:
    """Store that a logout token was used, until it expires. Raises TableUnavailable.

    ``until`` is in epoch seconds. Of two concurrent calls, the second changes nothing.
    """
    item = LOGOUT_TOKEN.item(_id(services, issuer, token_id)) | {
        "ttl": as_number(until),
        "stamp": as_binary(os.urandom(STAMP_BYTES)),
    }
    run_sync(services.table.put_stamped(item, expected=None))


def _id(services: Services, issuer: str, token_id: str) -> str:
    return logout_token_id(services.config.namespace, issuer, token_id)
