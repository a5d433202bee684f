"""What is done before an answer is believed by which somebody would be signed out.

AWS, or what stands between, can answer wrongly once. Knows nothing about records.
"""

import logging
from collections.abc import Callable, Coroutine
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.telemetry import telemetry

AHEAD: Final = (
    "A record is of a time that is yet to come: a clock is wrong, or somebody writes to the table."
)

LOGGED_EVERY: Final = 60.0  # seconds
STRAY: Final = "stray_answer"

if TYPE_CHECKING:
    from sessions_kms.aws.http_client.connections import Connection

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def once_more(read: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Read; what is not valid is read once more. Raises InvalidRecord, or what reading raises."""
    __traceback_hide__ = True
    try:
        return await read()
    except InvalidRecord as exc:
        telemetry.count("doubts", reason=exc.reason)
    return await read()


def alarmed(reason: str, alarm: str) -> StoreUnavailable:
    """Raise an alarm in the log, and return the error to raise: nothing can be told.

    ``reason`` is a short fixed word.
    """
    logger.error(alarm)
    telemetry.count("doubts", reason=reason)
    return StoreUnavailable()


class StrayAnswers:
    """Answers of DynamoDB to other requests than those that got them, as one process met them.

    Each is counted, and has its connections closed; the log has one line a minute.
    """

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self._steady = steady
        self._lock = Lock()
        self._logged: float | None = None
        self._unlogged = 0

    def add(self, *connections: "Connection | None") -> None:
        """Note one, which came on one of these connections; it cannot be told on which."""
        for each in connections:
            if each is not None:
                each.distrust()
        telemetry.count("doubts", reason=STRAY)
        now = self._steady()
        with self._lock:
            if self._logged is not None and now - self._logged < LOGGED_EVERY:
                self._unlogged += 1
                return
            before, self._unlogged, self._logged = self._unlogged, 0, now
        logger.error(
            "DynamoDB gave an answer to another request: it contradicts a second answer, or lacks"
            " the item that was replaced. Its connection is closed. Not logged before: %d.",
            before,
        )
