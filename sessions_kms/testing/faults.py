"""What can go wrong between the engine and AWS while a test wants it to."""

from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.testing.dynamodb import Handle, MemoryDynamoDB, Response, error
from sessions_kms.testing.kms import MemoryKMS

ENDPOINT: Final = "memory"
READS: Final = ("Get", "Query", "Scan", "Describe")  # how the names of these operations begin


class Fault(Enum):
    """A way to fail, for every call from now on."""

    UNREACHABLE = auto()
    THROTTLED = auto()
    LOST_RESPONSES = auto()  # to writes of sessions, which are applied


class FaultyDynamoDB(MemoryDynamoDB):
    """DynamoDB in memory that fails as its ``fault`` says."""

    fault: Fault | None = None

    def _send(self, operation: str, ids: list[str], handle: Handle) -> Response:
        if self.fault is None:
            return self._handle(handle)
        if self.fault is Fault.UNREACHABLE:
            raise EndpointConnectionError(endpoint_url=ENDPOINT)
        if self.fault is Fault.THROTTLED:
            raise error(operation, "ThrottlingException", status=400)
        if operation.startswith(READS) or not any(map(_is_of_session, ids)):
            return self._handle(handle)
        with suppress(ClientError):  # A failed condition is a response, too.
            self._handle(handle)
        raise ConnectionClosedError(endpoint_url=ENDPOINT)


def _is_of_session(item_id: str) -> bool:
    return "#" not in item_id  # which the ids of all other items have


class FaultyKMS(MemoryKMS):
    """KMS in memory that cannot be used while it has a ``fault``."""

    fault: Fault | None = None

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        """Return a new data key. Raises KMSUnavailable."""
        self._check()
        return super().generate_data_key(key_id, context)

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        """Unwrap a data key. Raises KMSUnavailable, too."""
        self._check()
        return super().decrypt(key_id, ciphertext, context)

    def _check(self) -> None:
        if self.fault in {Fault.UNREACHABLE, Fault.THROTTLED}:
            raise KMSUnavailable
