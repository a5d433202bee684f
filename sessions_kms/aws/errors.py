"""What an error says about a call of AWS: whether to retry it, and whether a write was applied.

Errors of botocore, of the built-in client and of a call that did not start enter; a `Failure`
for the retries, or one of our own errors, leaves. Calls nothing.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeGuard

from sessions_kms.aws.circuit import CircuitOpen
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.concurrency.deadline import OutOfTime
from sessions_kms.exceptions import FateUnknown, NotApplied, TableUnavailable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# boto is imported at the first call, not with the engine: it costs more than Django's own start.

CONDITION_FAILED: Final = "ConditionalCheckFailedException"
DENIED: Final = frozenset({"AccessDeniedException"})
TRANSACTION_CANCELED: Final = "TransactionCanceledException"
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
TRANSACTION_CONFLICT: Final = "TransactionConflictException"
WRITES: Final = frozenset({"delete_item", "put_item", "transact_write_items", "update_item"})
# Errors of writes that DynamoDB did not begin, and accepts when they are sent again.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
NOT_APPLIED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ThrottlingException",
        TRANSACTION_CONFLICT,
    }
)

# As boto's standard mode has them.
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
# AWS does not accept the credentials of this process, or they do not permit the call.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html#API_AssumeRoleWithWebIdentity_Errors
CREDENTIALS_REJECTED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "InvalidIdentityTokenException",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
TABLE_REJECTED: Final = CREDENTIALS_REJECTED | {"ResourceNotFoundException"}
# How boto words the response of a container's credential endpoint, except "too many requests".
ENDPOINT_REJECTED: Final = re.compile(r"non 200 response 4(?!29)\d\d\b")

TRANSIENT: Final = frozenset({"RequestTimeout", "RequestTimeoutException"})
TRANSIENT_STATUSES: Final = frozenset({500, 502, 503, 504})
TOO_MANY_REQUESTS: Final = 429
RETRY_AFTER: Final = "x-amz-retry-after"  # milliseconds


class ClientUnsupported(ValueError):
    """The built-in client is set, and cannot work here; the message says what to do."""


class NotStarted(Exception):
    """An attempt found no thread in time."""


class UnmetCondition(Exception):
    """A response that a write provides for, which is no failure."""

    telemetry_outcome: ClassVar = "condition"


class ConditionFailed(UnmetCondition):
    """A write's precondition did not hold; ``item`` is what the table returned of it, if any."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        super().__init__("The precondition of a write did not hold.")
        self.item = item


class TransactionCanceled(UnmetCondition):
    """A transaction was not applied, for reasons in the order of its items."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("The transaction was canceled.")
        self.reasons = reasons


class Failure(NamedTuple):
    """A failed attempt: the name and status of AWS's error; neither where no response came.

    ``retry_after`` is the number of seconds that the service asked for.
    """

    code: str | None = None
    status: int | None = None
    retry_after: float | None = None

    @property
    def is_throttled(self) -> bool:
        """Return True if AWS asks for fewer calls."""
        return self.code in THROTTLED or self.status == TOO_MANY_REQUESTS

    @property
    def is_transient(self) -> bool:
        """Return True if another attempt may succeed."""
        if self.code is None:
            return True
        return self.is_throttled or self.code in TRANSIENT or self.status in TRANSIENT_STATUSES


def failure_of(exc: Exception) -> Failure | None:
    """Return how an attempt failed; None for an error that no other attempt changes."""
    from botocore import exceptions

    if is_client_error(exc):
        metadata: Mapping[str, Any] = exc.response.get("ResponseMetadata", {})
        wait = retry_after(metadata.get("HTTPHeaders", {}))
        return Failure(error_code(exc), metadata.get("HTTPStatusCode"), wait)
    no_response = (exceptions.ConnectionError, exceptions.HTTPClientError, InvalidResponse)
    return Failure() if isinstance(exc, no_response) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a response asks to wait; None where it has no valid header."""
    try:
        seconds = int(headers[RETRY_AFTER]) / 1000
    except (KeyError, ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def is_client_error(exc: Exception) -> "TypeGuard[ClientError]":
    """Return True if AWS responded with an error of its own, which has a code."""
    from botocore.exceptions import ClientError

    return isinstance(exc, ClientError)


def is_timeout(exc: Exception) -> bool:
    """Return True if an attempt ran out of time."""
    from botocore import exceptions

    timeouts = (exceptions.ReadTimeoutError, exceptions.ConnectTimeoutError, TimeoutError)
    return isinstance(exc, timeouts)


def is_unsent(exc: Exception) -> bool:
    """Return True if a single attempt that failed so did not reach AWS: it did not start, or
    there was no connection.
    """
    from botocore import exceptions

    unsent = (exceptions.ConnectTimeoutError, exceptions.EndpointConnectionError)
    return isinstance(exc, (*unsent, CircuitOpen, NotStarted, OutOfTime))


def error_code(exc: "ClientError") -> str:
    """Return the name that AWS gave to an error."""
    return str(exc.response.get("Error", {}).get("Code", ""))


def error_name(exc: Exception) -> str:
    """Return the name that AWS gave to an error, otherwise that of its class."""
    code = error_code(exc) if is_client_error(exc) else ""
    return code if code.isalpha() else type(exc).__name__


def has_code(exc: "ClientError") -> bool:
    """Return True if AWS named the error; without a name, its message may be the whole body."""
    return error_code(exc).isalpha()


def is_table_rejection(exc: Exception) -> bool:
    """Return True if DynamoDB rejects this process, or if it has no valid credentials."""
    from botocore import exceptions

    if is_client_error(exc):
        return error_code(exc) in TABLE_REJECTED
    if isinstance(exc, exceptions.CredentialRetrievalError):
        return ENDPOINT_REJECTED.search(str(exc)) is not None
    no_credentials = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
    )
    return isinstance(exc, no_credentials)


def table_error(exc: Exception, operation: str, params: Mapping[str, Any]) -> Exception:
    """Translate an error of a DynamoDB call into one of ours."""
    error = _table_error(exc, operation, params)
    if isinstance(error, TableUnavailable):
        error.is_rejection = is_table_rejection(exc)
    return error


def _table_error(exc: Exception, operation: str, params: Mapping[str, Any]) -> Exception:
    if is_client_error(exc):
        return _response_error(exc, operation, params)
    if not is_unsent(exc):
        return _unknown_outcome(operation)
    if isinstance(exc, NotStarted):
        return TableUnavailable(str(exc))
    # A call that was given up before it started must not be started after all.
    return TableUnavailable() if isinstance(exc, CircuitOpen | OutOfTime) else NotApplied()


def _response_error(exc: "ClientError", operation: str, params: Mapping[str, Any]) -> Exception:
    """Translate an error response; one that this request cannot have is not its own."""
    code = error_code(exc)
    response: dict[str, Any] = dict(exc.response)
    if code == CONDITION_FAILED and "ConditionExpression" in params:
        return ConditionFailed(response.get("Item"))
    if code == TRANSACTION_CANCELED and "TransactItems" in params:
        reasons = response.get("CancellationReasons") or []
        return TransactionCanceled([str((reason or {}).get("Code")) for reason in reasons])
    if code in NOT_APPLIED:
        return NotApplied()
    return TableUnavailable() if _is_rejection(exc) else _unknown_outcome(operation)


def _unknown_outcome(operation: str) -> TableUnavailable:
    return FateUnknown() if operation in WRITES else TableUnavailable()


def _is_rejection(exc: "ClientError") -> bool:
    """Return True if AWS itself rejected the request, and so did not apply it."""
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return has_code(exc) and 400 <= status < 500
