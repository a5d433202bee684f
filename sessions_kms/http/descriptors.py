"""Whether a failure is this process's own, because it has no file descriptor left."""

import errno
import socket


def is_exhaustion(error: BaseException | None) -> bool:
    """Return True if an error means that the process, or the machine, has no descriptor left."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def is_any_left() -> bool:
    """Return True if a socket can be opened. The error of a failed DNS lookup does not show it."""
    try:
        socket.socket().close()
    except OSError as error:
        return not is_exhaustion(error)
    return True


def is_caused_by_exhaustion(error: BaseException) -> bool:
    """Return True if an error, or one that led to it, means so, or if no descriptor is left now."""
    cause: BaseException | None = error
    while cause is not None:
        if is_exhaustion(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return not is_any_left()
