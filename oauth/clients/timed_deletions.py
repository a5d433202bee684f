"""Deletes unused codes and the responses to spent tokens on time, once they have ended.

With the table and KMS, such an item opens its grant to anybody who has its code or token, so it is
not left to DynamoDB, which deletes late. The process that wrote an item remembers it until then.
The memory is bounded, and lost with the process: what it does not delete is deleted by the next
call or exchange, or by DynamoDB. Deletions run in the background threads of `grant_end`.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from typing import Final

from oauth.clients.grant_end import delete_items_soon
from sessions_kms import StoreUnavailable
from sessions_kms.services import Services

WAITING_MAX: Final = 10_000  # items; more are left to the other ways
MARGIN: Final = 1  # seconds after an item's end, so that every clock agrees

Entry = tuple[float, int, Services, str]


class TimedDeletions:
    """The items to delete, each with the time when it is due.

    ``monotonic`` returns seconds, ``start`` starts the thread that waits for them.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._start = start or _start_daemon
        self._entries: list[Entry] = []
        self._number = count()
        self._changed = Condition()
        self._is_started = False

    def __len__(self) -> int:
        """Return the number of items that wait."""
        return len(self._entries)

    def add(self, services: Services, item_id: str, ends_at: int) -> bool:
        """Delete an item once it has ended; return False if too many are waiting."""
        due = self._monotonic() + ends_at - services.clock() + MARGIN
        with self._changed:
            if len(self._entries) >= WAITING_MAX:
                return False
            heappush(self._entries, (due, next(self._number), services, item_id))
            self._changed.notify()
            must_start, self._is_started = not self._is_started, True
        if must_start:
            try:
                self._start(self._work)
            except RuntimeError:  # The process has no thread to spare, or is ending.
                self._is_started = False
        return True

    def delete_due(self, *, also_later: bool = False) -> float | None:
        """Delete what is due; return the seconds until the next one, or None if nothing waits.

        With ``also_later`` it deletes everything that has ended by the services' clock.
        """
        while True:
            with self._changed:
                if not self._entries:
                    return None
                left = self._entries[0][0] - self._monotonic()
                if left > 0 and not also_later:
                    return left
                _, _, services, item_id = heappop(self._entries)
            # Without a usable clock, or a thread to spare: the thread here must go on.
            with suppress(StoreUnavailable, RuntimeError):
                delete_items_soon(services, [item_id], ended_by=int(services.clock()))

    def forget(self) -> None:
        """Forget everything that waits."""
        with self._changed:
            self._entries.clear()

    def _work(self) -> None:
        while True:
            left = self.delete_due()
            with self._changed:
                if left is None and self._entries:
                    continue
                self._changed.wait(left)


def _start_daemon(work: Callable[[], None]) -> None:
    Thread(target=work, name="oauth-timed-deletions", daemon=True).start()


def delete_once_ended(
    services: Services, item_id: str, ends_at: int, *, is_secret: bool = True
) -> None:
    """Delete an item once it has ended, if this process still lives; never blocks.

    Without ``is_secret`` its end only tidies the index: half of the places are kept from those.
    """
    if is_secret or len(_waiting) < WAITING_MAX // 2:
        _waiting.add(services, item_id, ends_at)


def _replace() -> None:
    global _waiting  # noqa: PLW0603 - a forked child has neither the thread nor the lock's owner
    _waiting = TimedDeletions()


_waiting = TimedDeletions()
os.register_at_fork(after_in_child=_replace)
