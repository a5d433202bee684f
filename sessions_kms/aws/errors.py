"""What an error of AWS says of the call that raised it: of a write, whether it was applied.

Takes boto's errors and the operation, gives an error of ours. Calls nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sessions_kms.aws.calls import NotBegun, error_code, is_client_error, was_not_sent
from sessions_kms.aws.circuit import CircuitOpen
from sessions_kms.concurrency.deadline import OutOfTime
from sessions_kms.exceptions import FateUnknown, NotApplied, TableUnavailable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONDITION_FAILED = "ConditionalCheckFailedException"
DENIED = frozenset({"AccessDeniedException"})
TRANSACTION_CANCELED = "TransactionCanceledException"
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
TRANSACTION_CONFLICT = "TransactionConflictException"
WRITES = frozenset({"delete_item", "put_item", "transact_write_items", "update_item"})
# What DynamoDB did not even begin, and takes if it is sent again.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ThrottlingException",
        TRANSACTION_CONFLICT,
    }
)


class Unmet(Exception):
    """An answer that a write provides for, which is no failure."""

    telemetry_outcome: ClassVar = "condition"


class ConditionFailed(Unmet):
    """A write's precondition did not hold; ``item`` is what the table returned of it, if any."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        super().__init__("The precondition of a write did not hold.")
        self.item = item


class TransactionCanceled(Unmet):
    """A transaction was not applied, for reasons in the order of its items."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("The transaction was canceled.")
        self.reasons = reasons


def table_error(exc: Exception, operation: str, params: Mapping[str, Any]) -> Exception:
    """Translate an error of a DynamoDB call into one of ours."""
    if is_client_error(exc):
        return _answered(exc, operation, params)
    if not was_not_sent(exc):
        return _untold(operation)
    if isinstance(exc, NotBegun):
        return TableUnavailable(str(exc))
    # What was given up before it was begun is not to be begun after all.
    return TableUnavailable() if isinstance(exc, CircuitOpen | OutOfTime) else NotApplied()


def _answered(exc: "ClientError", operation: str, params: Mapping[str, Any]) -> Exception:
    """Translate an answer; what was not asked for, such as a failed condition, is none of ours."""
    code = error_code(exc)
    response: dict[str, Any] = dict(exc.response)
    if code == CONDITION_FAILED and "ConditionExpression" in params:
        return ConditionFailed(response.get("Item"))
    if code == TRANSACTION_CANCELED and "TransactItems" in params:
        reasons = response.get("CancellationReasons") or []
        return TransactionCanceled([str((reason or {}).get("Code")) for reason in reasons])
    if code in THROTTLED:
        return NotApplied()
    return TableUnavailable() if _is_refusal(exc) else _untold(operation)


def _untold(operation: str) -> TableUnavailable:
    return FateUnknown() if operation in WRITES else TableUnavailable()


def _is_refusal(exc: "ClientError") -> bool:
    """Tell whether AWS itself said that the request was at fault, and so was not applied."""
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return is_named(exc) and 400 <= status < 500


def is_named(exc: "ClientError") -> bool:
    """Tell whether AWS named the error: without a name, its message may be the whole body."""
    return error_code(exc).isalpha()


def kind_of(exc: Exception) -> str:
    """Return the name that AWS gave to an error, else that of its class."""
    code = error_code(exc) if is_client_error(exc) else ""
    return code if code.isalpha() else type(exc).__name__
