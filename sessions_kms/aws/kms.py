"""Calls of AWS KMS, and the one translation of its errors into ours.

Takes a key and parameters; returns a data key, or raises an error of `exceptions`. This module does
not depend on sessions or records.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sessions_kms.aws.calls import service
from sessions_kms.aws.clients import kms_client
from sessions_kms.aws.errors import CREDENTIALS_REJECTED, error_code, has_code, is_client_error
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import BlockingCall, run_sync
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Errors by which KMS says that this caller must not use this key.
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors
REJECTIONS = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
    }
)

# https://docs.aws.amazon.com/kms/latest/APIReference/API_VerifyMac.html
MAC_ALGORITHM, MAC_BYTES = "HMAC_SHA_256", 32


class IncorrectKey(KMSUnavailable):
    """Another KMS key wrapped this data key: try the next one."""


@dataclass(frozen=True)
class DataKeyResponse:
    """KMS's response to GenerateDataKey and Decrypt."""

    key_id: str
    plaintext: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class KMS:
    """The operations on data keys, each in the Region of its KMS key."""

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        """Return a new AES-256 data key, wrapped by a KMS key.

        Raises KMSUnavailable.
        """
        __traceback_hide__ = True
        response = call_kms(
            "generate_data_key",
            key_id,
            KeyId=key_id,
            KeySpec="AES_256",
            EncryptionContext=dict(context),
        )
        return _data_key_response(response, ciphertext=response.get("CiphertextBlob"))

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        """Unwrap a data key with exactly this KMS key.

        Raises InvalidRecord for a ciphertext that KMS calls invalid, IncorrectKey
        for one of another KMS key, otherwise KMSUnavailable.
        """
        __traceback_hide__ = True
        response = call_kms(
            "decrypt",
            key_id,
            KeyId=key_id,
            CiphertextBlob=ciphertext,
            EncryptionContext=dict(context),
        )
        return _data_key_response(response, ciphertext=ciphertext)

    def re_encrypt(
        self, ciphertext: bytes, *, source: str, destination: str, context: Mapping[str, str]
    ) -> bytes:
        """Return a data key wrapped by another KMS key of the same Region.

        KMS rejects it unless the source key wrapped it. Raises as `decrypt` does.
        """
        response = call_kms(
            "re_encrypt",
            source,
            CiphertextBlob=ciphertext,
            SourceKeyId=source,
            SourceEncryptionContext=dict(context),
            DestinationKeyId=destination,
            DestinationEncryptionContext=dict(context),
        )
        if (response.get("SourceKeyId"), response.get("KeyId")) != (source, destination):
            raise KMSUnavailable
        rewrapped: bytes = response.get("CiphertextBlob", b"")
        return rewrapped

    def generate_mac(self, key_id: str, message: bytes) -> bytes:
        """Return the HMAC-SHA-256 of a message of at most 4,096 bytes. Raises KMSUnavailable."""
        response = call_kms(
            "generate_mac", key_id, KeyId=key_id, Message=message, MacAlgorithm=MAC_ALGORITHM
        )
        if response.get("KeyId") != key_id or len(mac := response.get("Mac", b"")) != MAC_BYTES:
            raise KMSUnavailable
        return bytes(mac)

    def is_mac_valid(self, key_id: str, message: bytes, mac: bytes) -> bool:
        """Return True if this key made the MAC of a message. Raises KMSUnavailable."""
        try:
            response = call_kms(
                "verify_mac",
                key_id,
                KeyId=key_id,
                Message=message,
                Mac=mac,
                MacAlgorithm=MAC_ALGORITHM,
            )
        except KMSUnavailable as error:
            if _code_of_cause(error) == "KMSInvalidMacException":
                return False
            raise
        if (response.get("KeyId"), response.get("MacValid")) != (key_id, True):
            raise KMSUnavailable
        return True


def call_kms(operation: str, key_id: str, **params: Any) -> dict[str, Any]:
    """Call one KMS operation on one key, and translate its error."""

    def send() -> dict[str, Any]:
        with _bodies_not_logged():
            response: dict[str, Any] = getattr(client, operation)(**params)
            return response

    with telemetry.timed("aws", service="kms", operation=operation):
        try:
            client = kms_client(region_of(key_id))
            with deadline.call(deadline.HASTY.call):
                return run_sync(service(f"kms {client.meta.region_name}").call(BlockingCall(send)))
        except Exception as exc:
            # Whatever else the SDK raises, the outcome is unknown.
            if is_client_error(exc) and has_code(exc):
                raise _kms_error(exc, key_id) from exc
        # Raised outside the handler, so that no chain and no frame leads to the error of an
        # undecodable response: it holds the bytes, and with them a plaintext data key.
        raise KMSUnavailable


def region_of(arn: str) -> str:
    """Return the Region that an ARN names."""
    return arn.split(":")[3]


def _data_key_response(response: dict[str, Any], ciphertext: bytes | None) -> DataKeyResponse:
    __traceback_hide__ = True
    try:
        return DataKeyResponse(response["KeyId"], response["Plaintext"], ciphertext or b"")
    except KeyError:
        pass
    raise KMSUnavailable  # A truncated body is parsed to a response without its fields.


def _code_of_cause(error: KMSUnavailable) -> str | None:
    """Return KMS's error code, if KMS answered."""
    cause = error.__cause__
    return error_code(cause) if isinstance(cause, Exception) and is_client_error(cause) else None


def _kms_error(exc: "ClientError", key_id: str) -> Exception:
    code = error_code(exc)
    if code == "InvalidCiphertextException":
        return InvalidRecord("encrypted_key")
    if code == "IncorrectKeyException":
        return IncorrectKey()
    return KMSUnavailable(
        refused_key=key_id if code in REJECTIONS else None,
        is_rejection=code in CREDENTIALS_REJECTED,
    )


_in_kms_call: ContextVar[bool] = ContextVar("sessions_kms_in_kms_call", default=False)


class _DropKMSBodies(logging.Filter):
    """Drops what botocore's parser logs at DEBUG during a KMS call: the plaintext data key."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _in_kms_call.get()


logging.getLogger("botocore.parsers").addFilter(_DropKMSBodies())


@contextmanager
def _bodies_not_logged() -> Iterator[None]:
    token = _in_kms_call.set(True)
    try:
        yield
    finally:
        _in_kms_call.reset(token)
