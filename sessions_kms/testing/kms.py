"""KMS keys in memory: data keys are really wrapped, with the encryption context bound to them."""

import hmac
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessions_kms.aws.kms import KMS, DataKeyResponse, IncorrectKey
from sessions_kms.exceptions import InvalidRecord

NONCE_BYTES = 12


class MemoryKMS(KMS):
    """Each ARN is a KMS key of this process, made on its first use. Only tests can trust it."""

    def __init__(self) -> None:
        self._material: dict[str, bytes] = {}

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        """Return a new data key, wrapped by a KMS key."""
        __traceback_hide__ = True
        plaintext = AESGCM.generate_key(256)
        return DataKeyResponse(key_id, plaintext, self._wrap(key_id, plaintext, context))

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        """Unwrap a data key with exactly this KMS key. Raises InvalidRecord, or IncorrectKey."""
        __traceback_hide__ = True
        wrapped_by, _, rest = ciphertext.partition(b"\0")
        name = wrapped_by.decode(errors="replace")
        if name not in self._material or len(rest) <= NONCE_BYTES:
            raise InvalidRecord("encrypted_key")
        if name != key_id:
            raise IncorrectKey
        nonce, wrapped = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        try:
            plaintext = AESGCM(self._material[name]).decrypt(nonce, wrapped, _bind(context))
        except InvalidTag:
            raise InvalidRecord("encrypted_key") from None
        return DataKeyResponse(key_id, plaintext, ciphertext)

    def re_encrypt(
        self, ciphertext: bytes, *, source: str, destination: str, context: Mapping[str, str]
    ) -> bytes:
        """Return a data key wrapped by another KMS key. Raises as `decrypt` does."""
        __traceback_hide__ = True
        plaintext = self.decrypt(source, ciphertext, context).plaintext
        return self._wrap(destination, plaintext, context)

    def generate_mac(self, key_id: str, message: bytes) -> bytes:
        """Return the HMAC-SHA-256 of a message."""
        secret = self._material.setdefault(key_id, AESGCM.generate_key(256))
        return hmac.digest(secret, message, "sha256")

    def is_mac_valid(self, key_id: str, message: bytes, mac: bytes) -> bool:
        """Return True if this key made the MAC of a message."""
        return hmac.compare_digest(mac, self.generate_mac(key_id, message))

    def _wrap(self, key_id: str, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        __traceback_hide__ = True
        material = self._material.setdefault(key_id, AESGCM.generate_key(256))
        nonce = os.urandom(NONCE_BYTES)
        wrapped = AESGCM(material).encrypt(nonce, plaintext, _bind(context))
        return b"%b\0%b%b" % (key_id.encode(), nonce, wrapped)


def _bind(context: Mapping[str, str]) -> bytes:
    """Return the encryption context as associated data, unambiguously."""
    parts = [part.encode() for pair in sorted(context.items()) for part in pair]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
