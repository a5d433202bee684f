"""One data key for the whole fleet: the first process publishes it in the table, others adopt it.

Takes a period or an encrypted data key and gives a `DataKey`. Knows KMS and the table only
through the objects it is given, and nothing about sessions.
"""

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.data_keys.keyring import DataKey, KMSKeyring
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format.published_key import PublishedKey

PUBLISHED_FOR: Final = 24 * 3600  # seconds after its period's end that a published key stays

logger = logging.getLogger(__name__)


class PublishedKeys(Protocol):
    """Where the fleet publishes its data keys."""

    async def get(self, period: int) -> PublishedKey | None: ...
    async def publish(self, key: PublishedKey) -> bool: ...
    async def replace(self, key: PublishedKey, *, old: bytes) -> bool: ...


class SharedKeyring:
    """Gives all processes the same data key of a period, by publishing it in the table."""

    def __init__(
        self,
        keyring: KMSKeyring,
        published: PublishedKeys,
        *,
        period_length: int,
        clock: Callable[[], float],
    ) -> None:
        self._keyring = keyring
        self._published_keys = published
        self._period_length = period_length
        self._clock = clock

    async def generate(self, period: int) -> DataKey:
        """Return the published data key of a period, publishing one when there is none.

        A published item that nobody here can unwrap must not stop writing: it
        raises an alarm in the log, and the answer is a data key of its own.
        Raises KMSUnavailable or TableUnavailable.
        """
        if period == 0:
            return await self._keyring.generate(0)
        try:
            return await self._shared(period)
        except (InvalidRecord, KMSUnavailable) as exc:
            if not self._condemns_item(exc):
                raise
            _alarm(period, "cannot be used. Until it is mended, this process seals with its own.")
        return await self._keyring.generate(0)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Unwrap as the keyring below does: a record holds all that this needs."""
        return await self._keyring.unwrap(encrypted, period)

    async def _shared(self, period: int) -> DataKey:
        published = await self._published_keys.get(period)
        if published is None:
            return await self._share(period, self._published_keys.publish)
        try:
            return await self._keyring.unwrap(published.encrypted, period)
        except InvalidRecord:
            _alarm(period, "is invalid, says KMS. It is being replaced.")
        replace = partial(self._published_keys.replace, old=published.encrypted)
        return await self._share(period, replace)

    async def _share(
        self, period: int, put: Callable[[PublishedKey], Coroutine[Any, Any, bool]]
    ) -> DataKey:
        """Generate a data key and put it, or adopt the one that another process put first."""
        ours = await self._keyring.generate(period)
        if await put(self._published(ours)):
            return ours
        theirs = await self._published_keys.get(period)
        # A put whose answer was lost is retried by the SDK and then meets our own item.
        # With nothing there (deleted meanwhile) ours serves unpublished: records carry it.
        if theirs is None or theirs.encrypted == ours.encrypted:
            return ours
        return await self._keyring.unwrap(theirs.encrypted, period)

    def _published(self, key: DataKey) -> PublishedKey:
        return PublishedKey(
            period=key.period,
            encrypted=key.encrypted,
            created_at=int(self._clock()),
            ttl=published_until(key.period, self._period_length),
        )

    def _condemns_item(self, exc: InvalidRecord | KMSUnavailable) -> bool:
        """Tell whether the published item is at fault, and not KMS or the current KMS key."""
        if isinstance(exc, InvalidRecord | IncorrectKey):
            return True
        return exc.refused_key not in (None, self._keyring.key_id)


def published_until(period: int, period_length: int) -> int:
    """Return the epoch seconds until which the data key of a period stays published."""
    return period + period_length + PUBLISHED_FOR


def _alarm(period: int, what: str) -> None:
    logger.error("The published data key of period %d %s", period, what)
