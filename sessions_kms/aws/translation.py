"""Calls of AWS, and the one map from AWS's errors to ours.

Takes operations by name, gives answers or an error of `exceptions`. Knows
nothing about sessions, records or data keys.
"""

import logging
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sessions_kms.aws.calls import error_code, is_client_error, service
from sessions_kms.aws.client.asking import TableClient, asking, table_of
from sessions_kms.aws.clients import kms_client
from sessions_kms.aws.errors import WRITES, is_named, table_error
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import BlockingCall, Wait, run_sync
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# The answers by which KMS says that this key is not to be used by this caller.
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors
REFUSALS = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
    }
)


class IncorrectKey(KMSUnavailable):
    """Another KMS key wrapped this data key: the next one may be asked."""


@dataclass(frozen=True)
class DataKeyAnswer:
    """What KMS answers to GenerateDataKey and Decrypt."""

    key_id: str
    plaintext: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class KMS:
    """The operations on data keys, each in the Region of the key that it names."""

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyAnswer:
        """Ask the KMS key for a new AES-256 data key.

        Raises KMSUnavailable.
        """
        __traceback_hide__ = True
        answer = call_kms(
            "generate_data_key",
            key_id,
            KeyId=key_id,
            KeySpec="AES_256",
            EncryptionContext=dict(context),
        )
        return _data_key_answer(answer, ciphertext=answer.get("CiphertextBlob"))

    def decrypt(self, key_id: str, ciphertext: bytes, context: Mapping[str, str]) -> DataKeyAnswer:
        """Unwrap a data key with exactly this KMS key.

        Raises InvalidRecord for a ciphertext that KMS calls invalid, IncorrectKey
        for one of another KMS key, else KMSUnavailable.
        """
        __traceback_hide__ = True
        answer = call_kms(
            "decrypt",
            key_id,
            KeyId=key_id,
            CiphertextBlob=ciphertext,
            EncryptionContext=dict(context),
        )
        return _data_key_answer(answer, ciphertext=ciphertext)

    def re_encrypt(
        self, ciphertext: bytes, *, source: str, destination: str, context: Mapping[str, str]
    ) -> bytes:
        """Have a data key that one KMS key wrapped wrapped by another, both of one Region.

        Naming the source keeps what a foreign key wrapped foreign. Raises as `decrypt` does.
        """
        answer = call_kms(
            "re_encrypt",
            source,
            CiphertextBlob=ciphertext,
            SourceKeyId=source,
            SourceEncryptionContext=dict(context),
            DestinationKeyId=destination,
            DestinationEncryptionContext=dict(context),
        )
        if (answer.get("SourceKeyId"), answer.get("KeyId")) != (source, destination):
            raise KMSUnavailable
        moved: bytes = answer.get("CiphertextBlob", b"")
        return moved


def call_kms(operation: str, key_id: str, **params: Any) -> dict[str, Any]:
    """BlockingCall one KMS operation on one key and translate what goes wrong."""

    def ask() -> dict[str, Any]:
        with _kms_bodies_unlogged():
            answer: dict[str, Any] = getattr(client, operation)(**params)
            return answer

    with telemetry.timed("aws", service="kms", operation=operation):
        try:
            client = kms_client(region_of(key_id))
            with deadline.call(deadline.HASTY.call):
                return run_sync(service(f"kms {client.meta.region_name}").ask(BlockingCall(ask)))
        except Exception as exc:
            # Whatever else the SDK raises, the answer is unknown.
            if is_client_error(exc) and is_named(exc):
                raise _kms_error(exc, key_id) from exc
        # Raised outside the handler, so that no chain and no frame leads to the error of
        # an undecodable answer: it carries the bytes, and with them a plaintext data key.
        raise KMSUnavailable


async def call_table(
    client: TableClient, operation: str, *, apart_from: Container[object] = (), **params: Any
) -> dict[str, Any]:
    """BlockingCall one DynamoDB operation, on another connection than those (see `asking`).

    Raises ConditionFailed, TransactionCanceled, or TableUnavailable for
    all else: of a write that was not applied, NotApplied if it may be sent again at once,
    and FateUnknown of one that may have been applied, or may be yet.
    """
    with telemetry.timed("aws", service="dynamodb", operation=operation):
        try:
            ask = asking(client, operation, params, apart_from)
            probe = partial(_probe, client, params)
            known = service("dynamodb")
            if operation in WRITES:
                # Whether it may be sent again, only `storage.sending` knows, which bounds it.
                return await known.ask(ask, probe=probe, attempts=1)
            with deadline.call(deadline.HASTY.call):
                return await known.ask(ask, probe=probe)
        except Exception as exc:
            # A body cut short or garbled raises anything, not only botocore's own errors.
            raise table_error(exc, operation, params) from exc


def _probe(client: TableClient, params: Mapping[str, Any]) -> Wait:
    """Return what reads nothing of the same table."""
    key = {"id": {"S": "probe"}}
    read = {"TableName": table_of(params), "Key": key, "ConsistentRead": True}
    return asking(client, "get_item", read)


def region_of(arn: str) -> str:
    """Return the Region that an ARN names."""
    return arn.split(":")[3]


def _data_key_answer(answer: dict[str, Any], ciphertext: bytes | None) -> DataKeyAnswer:
    __traceback_hide__ = True
    try:
        return DataKeyAnswer(answer["KeyId"], answer["Plaintext"], ciphertext or b"")
    except KeyError:
        pass
    raise KMSUnavailable  # A body cut short is parsed to an answer without its fields.


def _kms_error(exc: "ClientError", key_id: str) -> Exception:
    code = error_code(exc)
    if code == "InvalidCiphertextException":
        return InvalidRecord("encrypted_key")
    if code == "IncorrectKeyException":
        return IncorrectKey()
    return KMSUnavailable(refused_key=key_id if code in REFUSALS else None)


_in_kms_call: ContextVar[bool] = ContextVar("sessions_kms_in_kms_call", default=False)


class _DropKMSBodies(logging.Filter):
    """Drops what botocore's parser logs at DEBUG during our KMS calls: the plaintext data key."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _in_kms_call.get()


logging.getLogger("botocore.parsers").addFilter(_DropKMSBodies())


@contextmanager
def _kms_bodies_unlogged() -> Iterator[None]:
    token = _in_kms_call.set(True)
    try:
        yield
    finally:
        _in_kms_call.reset(token)
