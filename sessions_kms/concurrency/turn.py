"""A lock for coroutines: its holder holds no thread lock while it waits.

Who has it does not wait for itself. Log handlers and signal receivers run in the middle of
what they are told of; one that asks who is signed in would wait for its own caller for good.
"""

from threading import RLock

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waking import Wakeup, hold, is_held_here, let_go
from sessions_kms.exceptions import StoreUnavailable


class Turn:
    """Taken, and given back to whoever has waited longest."""

    __slots__ = ("_is_taken", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = RLock()  # An abandoned coroutine is closed in the middle of anything.
        self._is_taken = False
        self._waiting: list[Wakeup] = []  # few: each session has a turn, and a deque is large

    @property
    def is_taken(self) -> bool:
        """Tell whether somebody has it."""
        return self._is_taken

    def take_at_once(self) -> bool:
        """Take it if nobody has it: nearly always. False where somebody has, or waits for it."""
        with self._lock:
            if self._is_taken:
                return False
            self._is_taken = True
        hold(self)
        return True

    async def take(self, within: float | None = None) -> None:
        """Wait for those who came before, as long as the request may or for so many seconds.

        Whoever takes gives back. Raises StoreUnavailable, also where it is taken from here already.
        """
        if is_held_here(self):
            raise StoreUnavailable("The session is asked for within its own loading.")
        if (woken := self._queued()) is not None:
            came = False
            try:
                came = await _told(woken, within)
            finally:
                if not came:
                    self._leave(woken)
            if not came:
                raise StoreUnavailable
        hold(self)

    def give_back(self) -> None:
        """Let the next one have it."""
        let_go(self)
        with self._lock:
            if self._waiting:
                self._waiting.pop(0).wake()
            else:
                self._is_taken = False

    def _queued(self) -> Wakeup | None:
        """Take it at once, or else a place among those who wait."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return None
            self._waiting.append(woken := Wakeup())
            return woken

    def _leave(self, woken: Wakeup) -> None:
        """Wait no longer; what has been given meanwhile is passed on."""
        with self._lock:
            if woken in self._waiting:
                self._waiting.remove(woken)
                return
        self.give_back()


async def _told(woken: Wakeup, within: float | None) -> bool:
    """Wait to be woken; False where the time is over. That of the request is on its account."""
    if within is not None:
        in_time: bool = await woken.within(within)
        return in_time
    try:
        with deadline.waiting() as left:
            came: bool = await woken.within(left)
            return came
    except deadline.OutOfTime:
        return False
