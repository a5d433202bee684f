"""How many connections fit into the descriptors of a process.

Each client's may need a second one, to the upstream that it calls; so there are at most as
many to upstreams, idle ones among them, as from clients.
"""

import errno
import resource
import socket

RESERVED = 128  # descriptors for table, keys, database, providers, files
SPARE = 16  # clients' connections above the bound, which are told no more than health
LEAST, MOST = 16, 16_384  # connections of each kind, whatever the limit of descriptors says
BACKLOG = 64  # connections that are accepted at a time


def allowed() -> int:
    """Return how many descriptors this process may have; negative is without a limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def are_exhausted(error: BaseException | None) -> bool:
    """Return whether an error means that the process, or the machine, has no descriptor left."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def is_any_left() -> bool:
    """Return whether a socket can be opened. The error of a failed name lookup does not tell."""
    try:
        socket.socket().close()
    except OSError as error:
        return not are_exhausted(error)
    return True


def each_way(limit: int, backlog: int = BACKLOG) -> int:
    """Return how many connections from clients, and to upstreams, fit into so many descriptors."""
    if limit < 0:
        return MOST
    return min(MOST, max(LEAST, (limit - RESERVED - SPARE - backlog) // 2))


def are_few(limit: int, backlog: int = BACKLOG) -> bool:
    """Tell whether not even the least number of connections fits."""
    return 0 <= limit < 2 * LEAST + RESERVED + SPARE + backlog
