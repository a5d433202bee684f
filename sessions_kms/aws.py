"""AWS clients, and the one map from AWS's errors to ours.

Takes operations by name, gives answers or an error of `exceptions`. Knows
nothing about sessions, records or data keys.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from sessions_kms.aws_errors import error_code, is_client_error, is_named, table_error
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable, TableUnavailable
from sessions_kms.locking import GuardedLock
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    import boto3
    import botocore.config
    from botocore.exceptions import ClientError
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient

CONNECT_TIMEOUT = 1  # seconds; a request that hangs is worse than one that fails
READ_TIMEOUT = 2  # seconds
CONTROL_TIMEOUT = 60  # seconds, for what no visitor waits for; it is what boto has by default
ATTEMPTS = 3
POOL_CONNECTIONS = 64  # enough for the threads of one process

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
    """Call one KMS operation on one key and translate what goes wrong."""
    with telemetry.timed("aws", service="kms", operation=operation), _kms_bodies_unlogged():
        try:
            answer: dict[str, Any] = getattr(kms_client(region_of(key_id)), operation)(**params)
            return answer
        except Exception as exc:
            # Whatever else the SDK raises, the answer is unknown.
            if is_client_error(exc) and is_named(exc):
                raise _kms_error(exc, key_id) from exc
        # Raised outside the handler, so that no chain and no frame leads to the error of
        # an undecodable answer: it carries the bytes, and with them a plaintext data key.
        raise KMSUnavailable


def call_table(client: "DynamoDBClient", operation: str, **params: Any) -> dict[str, Any]:
    """Call one DynamoDB operation.

    Raises ConditionFailed, TransactionCanceled, or TableUnavailable for
    all else: of a write that was not applied, NotApplied if it may be sent again at once,
    and FateUnknown of one that may have been applied, or may be yet.
    """
    with telemetry.timed("aws", service="dynamodb", operation=operation):
        try:
            answer: dict[str, Any] = getattr(client, operation)(**params)
        except Exception as exc:
            # A body cut short or garbled raises anything, not only botocore's own errors.
            raise table_error(exc, operation, params) from exc
    return answer


def region_of(arn: str) -> str:
    """Return the Region that an ARN names."""
    return arn.split(":")[3]


# boto is imported at the first call, not with the engine: it costs more than Django's own start.


@cache
def _session() -> "boto3.session.Session":
    """Return the session of all clients.

    The limits hold for the calls, too, by which boto gets credentials (STS, IAM Identity
    Center): it would wait a minute for each of several answers.
    """
    import boto3
    import botocore.session

    underneath = botocore.session.get_session()
    underneath.set_default_client_config(_client_config())
    return boto3.session.Session(botocore_session=underneath)


@cache
def _client_config() -> "botocore.config.Config":
    import botocore.config

    return botocore.config.Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=POOL_CONNECTIONS,
        parameter_validation=False,  # Ours are of our own making, and AWS looks at them anyway.
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )


def _attempting(attempts: int) -> "botocore.config.Config":
    import botocore.config

    return botocore.config.Config(retries={"mode": "standard", "total_max_attempts": attempts})


_clients_lock = GuardedLock()
_kms_clients: "dict[str, KMSClient]" = {}


def kms_client(region: str) -> "KMSClient":
    """Return this process's KMS client of a Region."""
    with _clients_lock:
        if region not in _kms_clients:
            _kms_clients[region] = _session().client("kms", region_name=region)
        return _kms_clients[region]


def dynamodb_client(region: str | None, *, attempts: int = ATTEMPTS) -> "DynamoDBClient":
    """Return a new DynamoDB client; without a Region, boto's own chain decides.

    One that writes makes one attempt: what is sent again may have been applied before, and
    somebody else have written since.
    AWS_REGION, which AWS sets in its own runtimes, comes first: boto3 does not read it.
    Raises TableUnavailable where the environment makes no client: no Region, an unknown profile.
    """
    with _clients_lock:
        try:
            return _session().client(
                "dynamodb",
                region_name=region or os.environ.get("AWS_REGION") or None,
                config=_attempting(attempts),
            )
        except Exception as exc:
            raise TableUnavailable from exc


def control_client(service: str, region: str | None = None) -> Any:
    """Return a new client for setting up and inspecting: it waits as long as AWS may take.

    Creating a key is not idempotent, so its call is not given up early and sent again.
    """
    import botocore.config

    with _clients_lock:
        return _session().client(
            service,  # type: ignore[call-overload]  # a name, not one of boto's literals
            region_name=region or os.environ.get("AWS_REGION") or None,
            config=botocore.config.Config(
                connect_timeout=CONTROL_TIMEOUT,
                read_timeout=CONTROL_TIMEOUT,
                parameter_validation=True,
            ),
        )


def reset() -> None:
    """Forget all clients: the settings changed, or this is a forked child."""
    global _clients_lock  # noqa: PLW0603 - the parent may have forked while it held the lock
    _clients_lock = GuardedLock()
    _kms_clients.clear()
    _session.cache_clear()


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
