"""Data keys: generate one to seal with, unwrap one to open with, share one across the fleet.

Takes a period or an encrypted data key and gives a `DataKey`. Knows AWS KMS and
the table only through the objects it is given, and nothing about sessions.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from sessions_kms.aws.translation import KMS, IncorrectKey
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.format.attributes import ENCRYPTED_KEY_MAX_BYTES
from sessions_kms.format.published_key import PublishedKey

PURPOSE: Final = "sessions_kms"
DATA_KEY_BYTES: Final = 32
PUBLISHED_FOR: Final = 24 * 3600  # seconds after its period's end that a published key stays

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataKey:
    """A data key, wrapped and unwrapped.

    ``period`` is the epoch second at which its period starts, 0 for a data key
    of its own; ``kms_key_id`` the ARN of the KMS key that wrapped or unwrapped it.
    """

    period: int
    encrypted: bytes = field(repr=False)
    plaintext: bytes = field(repr=False)
    kms_key_id: str


class Keyring(Protocol):
    """The two verbs of data keys."""

    def generate(self, period: int) -> DataKey:
        """Return the data key to seal with in a period; its own ``period`` may be another.

        Raises KMSUnavailable or TableUnavailable.
        """
        ...

    def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Return the data key that was wrapped for a period.

        Raises InvalidRecord for what KMS calls invalid, else KMSUnavailable.
        """
        ...


class ConfirmingKeyring(Keyring, Protocol):
    """A keyring that can have KMS confirm what it said."""

    def confirmed(self, key: DataKey) -> DataKey:
        """Return a data key as KMS unwraps it when it is asked once more; later ones as it is.

        Raises as `unwrap` does.
        """
        ...


class PublishedKeys(Protocol):
    """Where the fleet publishes its data keys (`data_key_items.DataKeyItems`)."""

    def get(self, period: int) -> PublishedKey | None: ...
    def publish(self, key: PublishedKey) -> bool: ...
    def replace(self, key: PublishedKey, *, old: bytes) -> bool: ...


class KMSKeyring:
    """Asks KMS each time: wraps under one KMS key, unwraps with this and with previous ones."""

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

    def generate(self, period: int) -> DataKey:
        """Have the KMS key make a new data key. Raises KMSUnavailable."""
        answer = self._kms.generate_data_key(self.key_id, self.context(period))
        if not 1 <= len(answer.ciphertext) <= ENCRYPTED_KEY_MAX_BYTES:
            raise KMSUnavailable
        _check_answer(answer.key_id, self.key_id, len(answer.plaintext))
        return DataKey(period, answer.ciphertext, answer.plaintext, answer.key_id)

    def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Ask the KMS keys in turn for the plaintext.

        Raises InvalidRecord for what KMS calls invalid, IncorrectKey when none of
        them wrapped it (a mistyped key id does that too, so the record is not to
        blame), else KMSUnavailable. A previous key that AWS refuses to use is passed
        over: what no other one unwraps may be its own, and fails by that refusal.
        """
        refused: str | None = None
        for key_id in self._unwrap_key_ids:
            try:
                answer = self._kms.decrypt(key_id, encrypted, self.context(period))
            except IncorrectKey:
                continue
            except KMSUnavailable as exc:
                refused = refused or exc.refused_key
                if key_id == self.key_id or refused is None:
                    raise
                continue
            _check_answer(answer.key_id, key_id, len(answer.plaintext))
            return DataKey(period, encrypted, answer.plaintext, answer.key_id)
        if refused is not None:
            raise KMSUnavailable(refused_key=refused)
        raise IncorrectKey("None of the configured KMS keys wrapped this data key.")

    def rewrap(self, encrypted: bytes, period: int) -> bytes | None:
        """Have what a previous KMS key wrapped wrapped by the present one, without plaintext.

        None where no previous one wrapped it. Raises InvalidRecord for what KMS calls
        invalid, else KMSUnavailable.
        """
        for source in self._unwrap_key_ids[1:]:
            try:
                moved = self._kms.re_encrypt(
                    encrypted,
                    source=source,
                    destination=self.key_id,
                    context=self.context(period),
                )
            except IncorrectKey:
                continue
            if not 1 <= len(moved) <= ENCRYPTED_KEY_MAX_BYTES:
                raise KMSUnavailable
            return moved
        return None


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

    def generate(self, period: int) -> DataKey:
        """Return the published data key of a period, publishing one when there is none.

        A published item that nobody here can unwrap must not stop writing: it
        raises an alarm in the log, and the answer is a data key of its own.
        Raises KMSUnavailable or TableUnavailable.
        """
        if period == 0:
            return self._keyring.generate(0)
        try:
            return self._shared(period)
        except (InvalidRecord, KMSUnavailable) as exc:
            if not self._condemns_item(exc):
                raise
            _alarm(period, "cannot be used. Until it is mended, this process seals with its own.")
        return self._keyring.generate(0)

    def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Unwrap as the keyring below does: a record holds all that this needs."""
        return self._keyring.unwrap(encrypted, period)

    def _shared(self, period: int) -> DataKey:
        published = self._published_keys.get(period)
        if published is None:
            return self._share(period, self._published_keys.publish)
        try:
            return self._keyring.unwrap(published.encrypted, period)
        except InvalidRecord:
            _alarm(period, "is invalid, says KMS. It is being replaced.")
        return self._share(period, partial(self._published_keys.replace, old=published.encrypted))

    def _share(self, period: int, put: Callable[[PublishedKey], bool]) -> DataKey:
        """Generate a data key and put it, or adopt the one that another process put first."""
        ours = self._keyring.generate(period)
        if put(self._published(ours)):
            return ours
        theirs = self._published_keys.get(period)
        # A put whose answer was lost is retried by the SDK and then meets our own item.
        # With nothing there (deleted meanwhile) ours serves unpublished: records carry it.
        if theirs is None or theirs.encrypted == ours.encrypted:
            return ours
        return self._keyring.unwrap(theirs.encrypted, period)

    def _published(self, key: DataKey) -> PublishedKey:
        return PublishedKey(
            period=key.period,
            encrypted=key.encrypted,
            created_at=int(self._clock()),
            ttl=key.period + self._period_length + PUBLISHED_FOR,
        )

    def _condemns_item(self, exc: InvalidRecord | KMSUnavailable) -> bool:
        """Tell whether the published item is at fault, and not KMS or the current KMS key."""
        if isinstance(exc, InvalidRecord | IncorrectKey):
            return True
        return exc.refused_key not in (None, self._keyring.key_id)


def _check_answer(answered_by: str, asked: str, plaintext_bytes: int) -> None:
    """Raise KMSUnavailable for an answer of another key, or with a plaintext cut short."""
    if answered_by != asked or plaintext_bytes != DATA_KEY_BYTES:
        raise KMSUnavailable


def _alarm(period: int, what: str) -> None:
    logger.error("The published data key of period %d %s", period, what)
