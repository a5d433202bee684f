"""Names to addresses within a time, although `getaddrinfo` knows none.

A host and a port enter; addresses leave. The last good ones are kept for when the name
server is slow or silent.
"""

import asyncio
import os
import socket
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple

from sessions_kms.concurrency.bounded_pool import BoundedPool, Refused
from sessions_kms.concurrency.deadline import OutOfTime

KEPT_MAX: Final = 64  # hosts whose last good addresses are kept
PATIENCE: Final = 0.25  # seconds to wait for a fresh answer with a good one in hand
FRESH: Final = 5.0  # seconds for which event loops do not ask again: DynamoDB's names live so long

Address = tuple[socket.AddressFamily, Any]  # the address as `socket.connect` takes it
Ask = Callable[[str, int], list[Address]]


class _Found(NamedTuple):
    addresses: list[Address]
    at: float


class Resolver:
    """Looks names up in a bounded number of threads."""

    def __init__(
        self,
        ask: Ask,
        lookups: BoundedPool[list[Address]] | None = None,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._ask = ask
        self._lookups = lookups or BoundedPool()
        self._steady = steady
        self._kept: OrderedDict[tuple[str, int], _Found] = OrderedDict()

    def addresses(self, host: str, port: int, within: float) -> list[Address]:
        """Return the addresses of a host, looking for so many seconds at most.

        Raises OSError: OutOfTime, or that the name is not known or cannot be asked for.
        """
        if (literal := _literal(host, port)) is not None:
            return literal
        kept = self._kept.get((host, port))
        patience = within if kept is None else min(within, PATIENCE)
        try:
            return self._lookups.wait((host, port), lambda: self._fresh(host, port), patience)
        except (OSError, RuntimeError) as exc:
            return _instead(kept, exc)

    async def in_loop(self, host: str, port: int, within: float) -> list[Address]:
        """Do the same for a task: its event loop goes on, and asks less often."""
        if (literal := _literal(host, port)) is not None:
            return literal
        kept = self._kept.get((host, port))
        if kept is not None and self._steady() - kept.at < FRESH:
            return kept.addresses
        patience = within if kept is None else min(within, PATIENCE)
        try:
            flight = self._lookups.begin((host, port), lambda: self._fresh(host, port))
            async with asyncio.timeout(patience):
                return await asyncio.wrap_future(flight)
        except (OSError, RuntimeError) as exc:
            return _instead(kept, exc)

    def _fresh(self, host: str, port: int) -> list[Address]:
        found = self._ask(host, port)
        self._kept[host, port] = _Found(found, self._steady())
        self._kept.move_to_end((host, port))
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return found


def _instead(kept: _Found | None, exc: Exception) -> list[Address]:
    """Return the last good addresses in the place of an error, or raise it."""
    if kept is not None:
        return kept.addresses
    if isinstance(exc, Refused | RuntimeError):
        raise socket.gaierror(socket.EAI_AGAIN, "Too many names are looked up.") from exc
    raise exc


def _literal(host: str, port: int) -> list[Address] | None:
    """Return the address that the host already is, without asking anybody."""
    try:
        return _ask_system(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None


def _ask_system(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, flags)
    return [(family, address) for family, _, _, _, address in found]


def connected(
    addresses: list[Address], left: Callable[[], float], make: Callable[[int], socket.socket]
) -> socket.socket:
    """Return a socket connected to the first address that answers.

    Each gets its share of the time that ``left`` tells. Raises OSError.
    """
    failure: OSError = OutOfTime()
    for number, (family, address) in enumerate(addresses):
        made = make(family)
        try:
            made.settimeout(left() / (len(addresses) - number))
            made.connect(address)
        except OSError as exc:
            made.close()
            failure = exc
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure


resolver = Resolver(_ask_system)


def reset() -> None:
    """Begin anew: a forked child has none of the threads."""
    global resolver  # noqa: PLW0603 - one per process
    resolver = Resolver(_ask_system)


os.register_at_fork(after_in_child=reset)
