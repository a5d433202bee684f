"""Host names looked up by the system's resolver, in few threads.

`getaddrinfo` cannot be given up: a thread that asks a silent resolver hangs for half a
minute, whatever its caller waits for. So there are only so many of them, one for a name
however many ask for it, and when all hang another name is refused at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from ipaddress import ip_address
from typing import Any

from sessions_kms.concurrency.bounded_pool import BoundedPool

LOOKUPS = 8  # names that one process looks up at once

Rows = list[tuple[Any, ...]]  # as `socket.getaddrinfo` returns them
Resolver = Callable[..., Rows]


class Lookups:
    """Lookups that are under way, so many at once."""

    def __init__(self, resolver: Resolver | None = None, at_once: int = LOOKUPS) -> None:
        self._resolver = resolver
        self._pool: BoundedPool[Rows] = BoundedPool(at_once)

    def start(self, *asked: Any) -> Future[Rows]:
        """Begin a lookup, or join one of the same; takes `getaddrinfo`'s arguments.

        Raises Refused where too many are under way. Cancelling what is returned ends nobody's.
        """
        return self._pool.begin(asked, partial(self._resolver or socket.getaddrinfo, *asked))


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop that looks names up here, and not in threads of its own."""

    def __init__(self) -> None:
        try:
            super().__init__()
        except OSError:  # No descriptor is left.
            self._closed = True  # else Python fails to close it, and writes a traceback
            raise

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the base class's name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look a name up. Raises OSError, Refused among them."""
        return await asyncio.wrap_future(_lookups.start(host, port, family, type, proto, flags))


async def addresses_of(host: str) -> list[str]:
    """Return the addresses of a name, in the resolver's order.

    Raises OSError, Refused among them, and ValueError for what is no name.
    """
    if _is_address(host):
        return [host]
    rows = await asyncio.wrap_future(_lookups.start(host, None, 0, socket.SOCK_STREAM))
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _start_afresh() -> None:
    global _lookups  # noqa: PLW0603 - a forked child has none of the threads
    _lookups = Lookups()


_lookups = Lookups()
os.register_at_fork(after_in_child=_start_afresh)
