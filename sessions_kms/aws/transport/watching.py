"""Whether anything can be read from a socket at once: bytes, or its end."""

import select
from collections.abc import Callable


def watch(socket: int) -> Callable[[], bool]:
    """Return what tells so of a socket, by its number."""
    if not hasattr(select, "poll"):  # on Windows
        return lambda: any(select.select([socket], [], [socket], 0))
    poll = select.poll()
    poll.register(socket, select.POLLIN | select.POLLPRI)
    return lambda: bool(poll.poll(0))
