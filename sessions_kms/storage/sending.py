"""What is sent to the DynamoDB table: reads and writes, each one call, which ends as one.

Reads are sent again by `calls`; a write only from here, where its condition is known. One that
was certainly not applied is sent again at once. One whose answer was lost is, too, where to
be applied twice is no harm; else it raises FateUnknown, and the caller decides.
"""

import random
import time
from collections.abc import Callable, Container, Coroutine, Mapping
from typing import Any

from sessions_kms.aws.errors import TransactionCanceled
from sessions_kms.aws.table_client import TableClient, call_table
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import Pause, Wait
from sessions_kms.exceptions import FateUnknown, NotApplied, TableUnavailable
from sessions_kms.storage.acknowledgement import Acknowledgement

REPEATS_MAX = 3  # requests of a write whose answers are lost
PAUSES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.5)  # seconds at most before a write that was refused
LAST_START = 2.0  # seconds after the first request of a write that no other one begins
CHECK_FAILED = "ConditionalCheckFailed"

Answer = dict[str, Any]


class Sender:
    """The requests of one table. They raise TableUnavailable when the answer cannot be told.

    ``pause`` makes the wait between two of them.
    """

    def __init__(
        self, client: TableClient, *, name: str, pause: Callable[[float], Wait] = Pause
    ) -> None:
        self.client = client
        self.name = name
        self._pause = pause

    async def read(
        self, operation: str, *, exclude: Container[object] = (), **params: Any
    ) -> Answer:
        """Send what changes nothing, on another connection than those."""
        return await call_table(
            self.client, operation, exclude=exclude, TableName=self.name, **params
        )

    async def repeated(
        self,
        operation: str,
        is_applied: Callable[[Acknowledgement], Coroutine[Any, Any, bool]],
        **params: Any,
    ) -> None:
        """Send a write that may be applied twice, or late, until it is known to be applied.

        ``is_applied`` tells whether it is, by what DynamoDB said. Raises ConditionFailed.
        """
        with _OneCall(deadline.HASTY.call):
            for _ in range(REPEATS_MAX):
                try:
                    told = await self.written(operation, **params)
                except FateUnknown:
                    continue
                if await is_applied(told):
                    return
        raise TableUnavailable

    async def written(self, operation: str, **params: Any) -> Acknowledgement:
        """Send a write, anew as long as it is certainly not applied; it asks for the old item.

        Raises ConditionFailed, or FateUnknown.
        """
        return await self._acknowledged(
            operation, {"TableName": self.name, **params, "ReturnValues": "ALL_OLD"}
        )

    async def transacted(self, actions: list[dict[str, Any]]) -> Acknowledgement:
        """Send writes of which all are to be applied or none, as `written` does.

        Raises TransactionCanceled because of a condition, or FateUnknown.
        """
        return await self._acknowledged("transact_write_items", {"TransactItems": actions})

    async def _acknowledged(self, operation: str, params: dict[str, Any]) -> Acknowledgement:
        # In another form than a read asks for, so that neither's answer is taken for the other's.
        params["ReturnConsumedCapacity"] = "INDEXES"
        began = time.monotonic()
        with _OneCall(deadline.HASTY.call):
            for longest in PAUSES:
                try:
                    return await self._once(operation, params)
                except NotApplied:
                    pause = random.uniform(0, longest)  # noqa: S311 - only spreads
                    if time.monotonic() - began > LAST_START or not deadline.has_time_for(pause):
                        raise
                    await self._pause(pause)
                    if not deadline.has_time_for(0):  # It took longer: a busy machine, or asleep.
                        raise
            return await self._once(operation, params)

    async def _once(self, operation: str, params: Mapping[str, Any]) -> Acknowledgement:
        try:
            answer = await call_table(self.client, operation, **params)
        except TransactionCanceled as exc:
            if CHECK_FAILED in exc.reasons:
                raise
            raise NotApplied from exc  # Another one on these items is under way: milliseconds.
        # boto parses a body cut short to an empty answer.
        if not is_whole(answer):
            raise FateUnknown
        return Acknowledgement.of(answer)


class _OneCall(deadline.call):
    """Bounds all that is sent by what one call may take. Raises TableUnavailable if nothing is."""

    __slots__ = ()

    def __enter__(self) -> None:
        try:
            super().__enter__()
        except deadline.OutOfTime:
            raise TableUnavailable from None


def is_whole(answer: Mapping[str, Any]) -> bool:
    """Tell whether an answer arrived in full, by the last thing that was asked for in it."""
    return "ConsumedCapacity" in answer
