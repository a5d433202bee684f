"""Data keys from KMS: generated to seal, unwrapped to open, and shared by the fleet.

`KMSKeyring` calls KMS each time. `SharedKeyring` gives all processes one data key per period: the
first process publishes it in the table, and the others adopt it. Every keyring takes a period or an
encrypted data key and returns a `DataKey`. This module does not depend on sessions.
"""

import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from sessions_kms.aws.kms import KMS, DataKeyResponse, IncorrectKey
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format.attributes import ENCRYPTED_KEY_MAX_BYTES
from sessions_kms.storage.published_keys import PublishedKey

logger = logging.getLogger(__name__)

REMEMBERED = 4096  # data keys; a table gets about one a day
WrappedKey = tuple[bytes, int]  # as KMS wrapped it, and its period
PUBLISHED_FOR: Final = 24 * 3600  # seconds after its period's end that a published key stays
PURPOSE: Final = "sessions_kms"
DATA_KEY_BYTES: Final = 32

V = TypeVar("V")


class PublishedKeys(Protocol):
    """Where the fleet publishes its data keys."""

    async def get(self, period: int) -> PublishedKey | None: ...
    async def publish(self, key: PublishedKey) -> bool: ...
    async def replace(self, key: PublishedKey, *, old: bytes) -> bool: ...


@dataclass(frozen=True)
class DataKey:
    """A data key, wrapped and unwrapped.

    ``period`` is the epoch second at which its period starts; ``kms_key_id`` is the ARN of the KMS
    key that wrapped or unwrapped it. It is ``confirmed`` if two responses of KMS agree on it.
    """

    period: int
    encrypted: bytes = field(repr=False)
    plaintext: bytes = field(repr=False)
    kms_key_id: str
    confirmed: bool = field(default=False, compare=False, repr=False)

    def has_same_bytes(self, other: "DataKey") -> bool:
        """Return True if another response of KMS gave the same plaintext, in constant time."""
        return hmac.compare_digest(self.plaintext, other.plaintext)


class Keyring(Protocol):
    """The interface of every keyring."""

    async def generate(self, period: int) -> DataKey:
        """Return the data key to seal with in a period; in an outage its own may be earlier.

        Raises KMSUnavailable or TableUnavailable.
        """
        ...

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Return the data key that was wrapped for a period.

        Raises InvalidRecord if KMS reports it as invalid, otherwise KMSUnavailable.
        """
        ...


class ConfirmingKeyring(Keyring, Protocol):
    """A keyring that can ask KMS to confirm a data key."""

    async def confirmed(self, key: DataKey) -> DataKey:
        """Return a data key after unwrapping it again, unless KMS has confirmed it already.

        Raises the errors of `unwrap`.
        """
        ...


class KMSKeyring:
    """Calls KMS each time: wraps under one KMS key, unwraps with this one and previous ones."""

    def __init__(
        self,
        kms: KMS,
        *,
        key_id: str,
        decrypt_key_ids: Sequence[str],
        namespace: str,
        encryption_context: Mapping[str, str],
    ) -> None:
        self.key_id = key_id
        self._kms = kms
        self._unwrap_key_ids = tuple(dict.fromkeys([key_id, *decrypt_key_ids]))
        self._context = {**encryption_context, "purpose": PURPOSE, "namespace": namespace}

    def context(self, period: int) -> dict[str, str]:
        """Return the encryption context that binds a data key to its use and its period."""
        return {**self._context, "period": str(period)}

    async def generate(self, period: int) -> DataKey:
        """Return a new data key from KMS, confirmed by Decrypt. Raises KMSUnavailable.

        If one response were wrong, what the key encrypts or who adopts it would be lost.
        """
        __traceback_hide__ = True
        response: DataKeyResponse = await BlockingCall(
            self._kms.generate_data_key, (self.key_id, self.context(period))
        )
        if not 1 <= len(response.ciphertext) <= ENCRYPTED_KEY_MAX_BYTES:
            raise KMSUnavailable
        _check_response(response.key_id, self.key_id, len(response.plaintext))
        key = DataKey(period, response.ciphertext, response.plaintext, response.key_id)
        return await confirm(key, self._unwrap(self.key_id, key.encrypted, period))

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Unwrap, trying one KMS key after the other.

        Raises InvalidRecord if KMS reports the data key as invalid, IncorrectKey if none of the
        KMS keys wrapped it (possibly because of a mistyped key id, so the record may be valid),
        otherwise KMSUnavailable. A previous key that AWS refuses to use is skipped; if no other
        key unwraps the data key, that refusal is raised.
        """
        __traceback_hide__ = True
        refused: str | None = None
        for key_id in self._unwrap_key_ids:
            try:
                return await self._unwrap(key_id, encrypted, period)
            except IncorrectKey:
                continue
            except KMSUnavailable as exc:
                refused = refused or exc.refused_key
                if key_id == self.key_id or refused is None:
                    raise
        if refused is not None:
            raise KMSUnavailable(refused_key=refused)
        raise IncorrectKey("None of the configured KMS keys wrapped this data key.")

    async def _unwrap(self, key_id: str, encrypted: bytes, period: int) -> DataKey:
        __traceback_hide__ = True
        response: DataKeyResponse = await BlockingCall(
            self._kms.decrypt, (key_id, encrypted, self.context(period))
        )
        _check_response(response.key_id, key_id, len(response.plaintext))
        return DataKey(period, encrypted, response.plaintext, response.key_id)

    async def rewrap(self, encrypted: bytes, period: int) -> bytes | None:
        """Rewrap a data key from a previous KMS key to the current one, within KMS.

        Return None if no previous key wrapped it. The result counts only if KMS unwraps it to the
        same bytes as before: one wrong response would make all that the key encrypts unreadable.
        Raises InvalidRecord if KMS reports it as invalid, otherwise KMSUnavailable.
        """
        __traceback_hide__ = True
        for source in self._unwrap_key_ids[1:]:
            call = partial(
                self._kms.re_encrypt,
                encrypted,
                source=source,
                destination=self.key_id,
                context=self.context(period),
            )
            try:
                rewrapped: bytes = await BlockingCall(call)
            except IncorrectKey:
                continue
            if not 1 <= len(rewrapped) <= ENCRYPTED_KEY_MAX_BYTES:
                raise KMSUnavailable
            new = await self._unwrap_own(rewrapped, period)
            await confirm(new, self._unwrap(source, encrypted, period))
            return rewrapped
        return None

    async def _unwrap_own(self, encrypted: bytes, period: int) -> DataKey:
        """Unwrap what KMS has just wrapped under the current key. Raises KMSUnavailable."""
        __traceback_hide__ = True
        try:
            return await self._unwrap(self.key_id, encrypted, period)
        except (InvalidRecord, IncorrectKey):
            raise KMSUnavailable from None


async def confirm(key: DataKey, again: Coroutine[Any, Any, DataKey]) -> DataKey:
    """Return a data key as confirmed if another response of KMS has the same bytes.

    Raises KMSUnavailable: then it must encrypt nothing, and must not be published.
    """
    __traceback_hide__ = True
    try:
        second = await again
    except (InvalidRecord, IncorrectKey):  # KMS has just wrapped or unwrapped it.
        second = None
    if second is None or not key.has_same_bytes(second):
        logger.error("Two responses of KMS about one data key differ. It is not used.")
        raise KMSUnavailable
    return replace(key, confirmed=True)


def _check_response(used_key_id: str, key_id: str, plaintext_bytes: int) -> None:
    """Raise KMSUnavailable for a response from another key, or with a truncated plaintext."""
    if used_key_id != key_id or plaintext_bytes != DATA_KEY_BYTES:
        raise KMSUnavailable


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
        """Return the published data key of a period; publish one if there is none.

        A published item that this process cannot unwrap must not prevent writing: it is logged, and
        a data key of the same period that is not shared is returned. Raises KMSUnavailable or
        TableUnavailable.
        """
        try:
            return await self._get_shared(period)
        except (InvalidRecord, KMSUnavailable) as exc:
            if not self._is_item_at_fault(exc):
                raise
            _log_error(period, "cannot be used. This process uses its own data keys instead.")
        return await self._keyring.generate(period)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Unwrap without reading the table: records contain their encrypted data key."""
        return await self._keyring.unwrap(encrypted, period)

    async def _get_shared(self, period: int) -> DataKey:
        published = await self._published_keys.get(period)
        if published is None:
            return await self._share(period, self._published_keys.publish)
        try:
            return await self._keyring.unwrap(published.encrypted, period)
        except InvalidRecord:
            _log_error(period, "is invalid according to KMS and is replaced.")
        replace = partial(self._published_keys.replace, old=published.encrypted)
        return await self._share(period, replace)

    async def _share(
        self, period: int, put: Callable[[PublishedKey], Coroutine[Any, Any, bool]]
    ) -> DataKey:
        """Generate and publish a data key, or adopt one published in the meantime."""
        ours = await self._keyring.generate(period)
        if await put(self._make_published(ours)):
            return ours
        theirs = await self._published_keys.get(period)
        # A put whose response was lost is sent again, and then finds our own item.
        # If the item was deleted since, our key is used unpublished: records contain it.
        if theirs is None or theirs.encrypted == ours.encrypted:
            return ours
        return await self._keyring.unwrap(theirs.encrypted, period)

    def _make_published(self, key: DataKey) -> PublishedKey:
        return PublishedKey(
            period=key.period,
            encrypted=key.encrypted,
            created_at=int(self._clock()),
            ttl=published_until(key.period, self._period_length),
        )

    def _is_item_at_fault(self, exc: InvalidRecord | KMSUnavailable) -> bool:
        """Return True if the published item is at fault, and not KMS or the current KMS key."""
        if isinstance(exc, InvalidRecord | IncorrectKey):
            return True
        return exc.refused_key not in (None, self._keyring.key_id)


def published_until(period: int, period_length: int) -> int:
    """Return the epoch seconds until which the data key of a period stays published."""
    return period + period_length + PUBLISHED_FOR


def _log_error(period: int, problem: str) -> None:
    logger.error("The published data key of period %d %s", period, problem)


class KnownKeys(OrderedDict[WrappedKey, V]):
    """Values by data key, for the most recent keys only."""

    def __setitem__(self, key: WrappedKey, value: V) -> None:
        """Set a value, and drop the oldest if there are too many."""
        super().__setitem__(key, value)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
