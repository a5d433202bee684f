"""Logout tokens that were used, kept by their issuer and id until they end: each counts once."""

import os

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import as_binary, as_number
from sessions_kms.format.kinds import LOGOUT_TOKEN, logout_token_id
from sessions_kms.services import Services
from sessions_kms.storage.confirmation_limit import Confirm

STAMP_BYTES = 16


def was_used(services: Services, issuer: str, token_id: str) -> bool:
    """Tell whether a logout token was used. Raises TableUnavailable."""
    item_id = _id(services, issuer, token_id)
    return (
        run_sync(services.table.get(item_id, confirm=Confirm.NEVER)) is not None
    )  # It ends sessions again.


def remember_used(services: Services, issuer: str, token_id: str, *, until: int) -> None:
    """Keep that a logout token was used until it ends, in epoch seconds. Raises TableUnavailable.

    Of two that do so at once one is first, and the other leaves that as it is.
    """
    item = LOGOUT_TOKEN.item(_id(services, issuer, token_id)) | {
        "ttl": as_number(until),
        "stamp": as_binary(os.urandom(STAMP_BYTES)),
    }
    run_sync(services.table.put_stamped(item, expected=None))


def _id(services: Services, issuer: str, token_id: str) -> str:
    return logout_token_id(services.config.namespace, issuer, token_id)
