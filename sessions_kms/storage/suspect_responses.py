"""Second reads, before acting on a response that would sign somebody out.

AWS, or a proxy in between, can return a wrong response once. Nothing here depends on records.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from sessions_kms.aws.http_client.connections import Connection

logger = logging.getLogger(__name__)

A_SECOND: Final = 50  # confirmations
KNOWN_FOR: Final = 2.0  # seconds for which an item counts as missing
AHEAD: Final = (
    "A record is of a time that is yet to come: a clock is wrong, or somebody writes to the table."
)
LOGGED_EVERY: Final = 60.0  # seconds
STRAY: Final = "stray_answer"

T = TypeVar("T")


class Confirm(Enum):
    """When a missing item is read again on another connection."""

    ALWAYS = auto()
    LIMITED = auto()  # if anybody can cause such reads
    NEVER = auto()  # if a following write would find it, or nothing depends on it


class ConfirmationLimit:
    """The confirmations of one process."""

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self._steady = steady
        self._lock = Lock()
        self._lately: deque[float] = deque(maxlen=A_SECOND)  # when the last ones were allowed
        # Since when, oldest first. Bounded by the number of confirmations in that time.
        self._missing: OrderedDict[str, float] = OrderedDict()

    def allows(self, item_id: str) -> bool:
        """Return True if a missing item may be read again, and count that."""
        with self._lock:
            now = self._steady()
            while self._missing and now - next(iter(self._missing.values())) >= KNOWN_FOR:
                self._missing.popitem(last=False)
            if item_id in self._missing:
                return False
            if len(self._lately) == A_SECOND and now - self._lately[0] < 1:
                return False
            self._lately.append(now)
            return True

    def confirmed(self, item_id: str) -> None:
        """Note that an item is missing by two responses."""
        with self._lock:
            self._missing.pop(item_id, None)
            self._missing[item_id] = self._steady()


async def retry_invalid_read(read: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Read, and read an invalid record again. Raises InvalidRecord, or what ``read`` raises."""
    __traceback_hide__ = True
    try:
        return await read()
    except InvalidRecord as exc:
        telemetry.count("doubts", reason=exc.reason)
    return await read()


def log_alarm(reason: str, alarm: str) -> StoreUnavailable:
    """Log an alarm, and return the error to raise.

    ``reason`` is a short fixed word.
    """
    logger.error(alarm)
    telemetry.count("doubts", reason=reason)
    return StoreUnavailable()


class StrayResponses:
    """Responses of DynamoDB that belong to another request, as seen by one process.

    Each is counted, and its connections are closed; the log has one line a minute.
    """

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self._steady = steady
        self._lock = Lock()
        self._logged: float | None = None
        self._unlogged = 0

    def add(self, *connections: "Connection | None") -> None:
        """Note a stray response, which came on one of these connections."""
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
            "DynamoDB gave a response to another request: it contradicts a second one, or lacks"
            " the item that was replaced. Its connection is closed. Not logged before: %d.",
            before,
        )
