"""Data keys: generate one to seal with, unwrap one to open with, each by a call of KMS.

Takes a period or an encrypted data key and gives a `DataKey`. Knows AWS KMS only through the
object it is given, and nothing about sessions. Other keyrings, which share and cache data
keys, have the same two methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from sessions_kms.aws.kms import KMS, DataKeyResponse, IncorrectKey
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.format.attributes import ENCRYPTED_KEY_MAX_BYTES

PURPOSE: Final = "sessions_kms"
DATA_KEY_BYTES: Final = 32


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
    """What every keyring does."""

    async def generate(self, period: int) -> DataKey:
        """Return the data key to seal with in a period; its own ``period`` may be another.

        Raises KMSUnavailable or TableUnavailable.
        """
        ...

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Return the data key that was wrapped for a period.

        Raises InvalidRecord for what KMS calls invalid, else KMSUnavailable.
        """
        ...


class ConfirmingKeyring(Keyring, Protocol):
    """The verbs of a keyring that can have KMS confirm what it said."""

    async def confirmed(self, key: DataKey) -> DataKey:
        """Return a data key as KMS unwraps it when it is asked once more; later ones as it is.

        Raises as `unwrap` does.
        """
        ...


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

    async def generate(self, period: int) -> DataKey:
        """Have the KMS key make a new data key. Raises KMSUnavailable."""
        __traceback_hide__ = True
        answer: DataKeyResponse = await BlockingCall(
            self._kms.generate_data_key, (self.key_id, self.context(period))
        )
        if not 1 <= len(answer.ciphertext) <= ENCRYPTED_KEY_MAX_BYTES:
            raise KMSUnavailable
        _check_answer(answer.key_id, self.key_id, len(answer.plaintext))
        return DataKey(period, answer.ciphertext, answer.plaintext, answer.key_id)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        """Ask the KMS keys in turn for the plaintext.

        Raises InvalidRecord for what KMS calls invalid, IncorrectKey when none of
        them wrapped it (a mistyped key id does that too, so the record is not to
        blame), else KMSUnavailable. A previous key that AWS refuses to use is passed
        over: what no other one unwraps may be its own, and fails by that refusal.
        """
        __traceback_hide__ = True
        refused: str | None = None
        for key_id in self._unwrap_key_ids:
            try:
                answer: DataKeyResponse = await BlockingCall(
                    self._kms.decrypt, (key_id, encrypted, self.context(period))
                )
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

    async def rewrap(self, encrypted: bytes, period: int) -> bytes | None:
        """Have what a previous KMS key wrapped wrapped by the present one, without plaintext.

        None where no previous one wrapped it. Raises InvalidRecord for what KMS calls
        invalid, else KMSUnavailable.
        """
        for source in self._unwrap_key_ids[1:]:
            ask = partial(
                self._kms.re_encrypt,
                encrypted,
                source=source,
                destination=self.key_id,
                context=self.context(period),
            )
            try:
                moved: bytes = await BlockingCall(ask)
            except IncorrectKey:
                continue
            if not 1 <= len(moved) <= ENCRYPTED_KEY_MAX_BYTES:
                raise KMSUnavailable
            return moved
        return None


def _check_answer(answered_by: str, asked: str, plaintext_bytes: int) -> None:
    """Raise KMSUnavailable for an answer of another key, or with a plaintext cut short."""
    if answered_by != asked or plaintext_bytes != DATA_KEY_BYTES:
        raise KMSUnavailable
