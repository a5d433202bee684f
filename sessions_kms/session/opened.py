"""Sends `session_opened`: once in each hour of the clock for a session that this process reads."""

import os
from typing import Final

from sessions_kms.aws.clock import system_time
from sessions_kms.signals import announce_async, session_opened

HOUR: Final = 3600
REMEMBERED_MAX: Final = 100_000  # sessions of one hour; beyond it they are announced again


class OpenedSessions:
    """The sessions that were read in the current hour."""

    def __init__(self) -> None:
        self._hour = -1
        self._ids: set[str] = set()

    def add(self, session_id: str, now: float) -> bool:
        """Add a session; return False if it was read in this hour before.

        A clock that is set back starts another hour: an event then has a time on both sides.
        """
        hour = int(now // HOUR)
        if hour != self._hour or len(self._ids) >= REMEMBERED_MAX:
            self._hour, self._ids = hour, set()
        if session_id in self._ids:
            return False
        self._ids.add(session_id)
        return True


_opened = OpenedSessions()


def _forget() -> None:
    global _opened  # noqa: PLW0603 - a forked child is another process
    _opened = OpenedSessions()


os.register_at_fork(after_in_child=_forget)


async def announce_opened(session_id: str, user_id: str | None, client_id: str | None) -> None:
    """Send the signal for a session that was read, unless it was sent within this hour.

    ``client_id`` is that of a grant, "" if it has none; None for the session of a cookie.
    """
    if _opened.add(session_id, system_time()):
        await announce_async(session_opened, session_id, user_id=user_id, client_id=client_id)
