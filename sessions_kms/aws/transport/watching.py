"""Whether a socket can be read or written to, at once or within so many seconds."""

import math
import select
from collections.abc import Callable
from typing import Final

MILLISECONDS: Final = 1000


def watch(socket: int) -> Callable[[], bool]:
    """Return what tells whether anything can be read at once of a socket, by its number."""
    speaks = readable(socket)
    return lambda: bool(speaks(0))


def readable(socket: int) -> Callable[[float], object]:
    """Return what waits until anything can be read, bytes or its end, for so many milliseconds.

    What it returns is true unless it is late. It is the system's own: no function around it.
    """
    if not hasattr(select, "poll"):  # on Windows
        return lambda left: any(select.select([socket], [], [socket], left / MILLISECONDS))
    poll = select.poll()
    poll.register(socket, select.POLLIN | select.POLLPRI)
    return poll.poll


def is_writable(socket: int, seconds: float) -> bool:
    """Wait until more can be written to a socket, or it has an error; False where it is late."""
    if not hasattr(select, "poll"):
        return any(select.select([], [socket], [socket], seconds))
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    return bool(poll.poll(math.ceil(seconds * MILLISECONDS)))
