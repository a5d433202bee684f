"""Used logout tokens and assertions, stored until they expire, so that each is used once.

A logout token is stored by its issuer and id, and so is a provider's assertion about a user; an
assertion by which a client authenticates is stored by its client and id.
"""

import hashlib
import os

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import as_binary, as_number
from sessions_kms.format.item_types import (
    ASSERTION,
    LOGOUT_TOKEN,
    assertion_id,
    identity_assertion_id,
    logout_token_id,
)
from sessions_kms.services import Services
from sessions_kms.storage.suspect_responses import Confirm

STAMP_BYTES = 16
CLOCK_DIFFERENCE = 300  # seconds that a process may be behind the clock that deletes the item


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


async def use_assertion(
    services: Services, client_id: str, jti: str, *, with_token: str, until: int
) -> bool:
    """Store the use of an assertion; return False if it was used with another token.

    ``with_token`` is what it authenticates, the assertion included: the same may be repeated.
    ``until`` is when the assertion is rejected, in epoch seconds. Raises StoreUnavailable.
    """
    __traceback_hide__ = True
    item = ASSERTION.item(assertion_id(services.config.namespace, client_id, jti)) | {
        "ttl": as_number(until + CLOCK_DIFFERENCE),
        "stamp": as_binary(hashlib.sha256(with_token.encode()).digest()[:STAMP_BYTES]),
    }
    return await services.table.put_stamped(item, expected=None)


async def is_identity_assertion_used(services: Services, issuer: str, jti: str) -> bool:
    """Return True if a provider's assertion was used before; False decides nothing.

    Raises TableUnavailable.
    """
    item_id = identity_assertion_id(services.config.namespace, issuer, jti)
    return await services.table.get(item_id, confirm=Confirm.NEVER) is not None


async def use_identity_assertion(services: Services, issuer: str, jti: str, *, until: int) -> bool:
    """Store the use of a provider's assertion; return False if it was used before.

    ``until`` is when it is rejected, in epoch seconds. Raises StoreUnavailable.
    """
    item_id = identity_assertion_id(services.config.namespace, issuer, jti)
    item = ASSERTION.item(item_id) | {
        "ttl": as_number(until + CLOCK_DIFFERENCE),
        "stamp": as_binary(os.urandom(STAMP_BYTES)),
    }
    return await services.table.put_stamped(item, expected=None)


def _id(services: Services, issuer: str, token_id: str) -> str:
    return logout_token_id(services.config.namespace, issuer, token_id)
