"""What is sent to the DynamoDB table: reads and writes, each one call, which ends as one.

Reads are sent again by `calls`; a write only from here, where its condition is known. One that
was certainly not applied is sent again at once. One whose answer was lost is, too, where to
be applied twice is no harm; else it raises FateUnknown, and the caller decides.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sessions_kms.aws.errors import TransactionCanceled
from sessions_kms.aws.translation import call_table
from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import FateUnknown, NotApplied, TableUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REPEATS_MAX = 3  # requests of a write whose answers are lost
PAUSES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.5)  # seconds at most before a write that was refused
LAST_START = 2.0  # seconds after the first request of a write that no other one begins
CHECK_FAILED = "ConditionalCheckFailed"


class TableCalls:
    """The calls of one table. They raise TableUnavailable when the answer cannot be told."""

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        name: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._name = name
        self._sleep = sleep

    def _call(self, operation: str, **params: Any) -> dict[str, Any]:
        return call_table(self._client, operation, **params)

    def _repeated(self, operation: str, **params: Any) -> None:
        """Send what may be applied twice, or late, until an answer comes."""
        with _one_call():
            for _ in range(REPEATS_MAX):
                try:
                    self._write(operation, **params)
                except FateUnknown:
                    continue
                return
        raise TableUnavailable

    def _write(self, operation: str, **params: Any) -> None:
        """Send a write, anew as long as it is certainly not applied.

        Raises ConditionFailed, TransactionCanceled because of a condition, or FateUnknown.
        """
        began = time.monotonic()
        with _one_call():
            for longest in PAUSES:
                try:
                    self._write_once(operation, **params)
                except NotApplied:
                    pause = random.uniform(0, longest)  # noqa: S311 - only spreads
                    if time.monotonic() - began > LAST_START or not deadline.has_time_for(pause):
                        raise
                    self._sleep(pause)
                else:
                    return
            self._write_once(operation, **params)

    def _write_once(self, operation: str, **params: Any) -> None:
        try:
            answer = self._call(operation, ReturnConsumedCapacity="TOTAL", **params)
        except TransactionCanceled as exc:
            if CHECK_FAILED in exc.reasons:
                raise
            raise NotApplied from exc  # Another one on these items is under way: milliseconds.
        # boto parses a body cut short to an empty answer.
        if not is_whole(answer):
            raise FateUnknown

    def _transact(self, *actions: dict[str, Any]) -> None:
        self._write("transact_write_items", TransactItems=list(actions))

    def _transact_if(self, is_done: Callable[[], bool], *actions: dict[str, Any]) -> bool:
        """Do what may be done twice, or late; False where a condition fails."""
        for _ in range(REPEATS_MAX):
            try:
                self._transact(*actions)
            except TransactionCanceled:
                return False
            except FateUnknown:
                if not is_done():
                    continue
            return True
        raise TableUnavailable


@contextmanager
def _one_call() -> Iterator[None]:
    """Bound all that is sent by what one call may take. Raises TableUnavailable if nothing is."""
    try:
        with deadline.call(deadline.HASTY.call):
            yield
    except deadline.OutOfTime:
        raise TableUnavailable from None


def is_whole(answer: Mapping[str, Any]) -> bool:
    """Tell whether an answer arrived in full, by the last thing that was asked for in it."""
    return "ConsumedCapacity" in answer
