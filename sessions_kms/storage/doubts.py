"""What is done before an answer is believed by which somebody would be signed out.

AWS, or what stands between, can answer wrongly once. Knows nothing about records.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from sessions_kms.concurrency.steps import Steps
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.telemetry import telemetry

AHEAD: Final = (
    "A record is of a time that is yet to come: a clock is wrong, or somebody writes to the table."
)

T = TypeVar("T")

logger = logging.getLogger(__name__)


def once_more(read: Callable[[], Steps[T]]) -> Steps[T]:
    """Read; what is not valid is read once more. Raises InvalidRecord, or what reading raises."""
    __traceback_hide__ = True
    try:
        return (yield from read())
    except InvalidRecord as exc:
        telemetry.count("doubts", reason=exc.reason)
    return (yield from read())


def alarmed(reason: str, alarm: str) -> StoreUnavailable:
    """Raise an alarm in the log, and return the error to raise: nothing can be told.

    ``reason`` is a short fixed word.
    """
    logger.error(alarm)
    telemetry.count("doubts", reason=reason)
    return StoreUnavailable()
