"""Connecting to an origin: name lookup, addresses, sockets and the TLS context.

Name lookups have a time limit, which `getaddrinfo` itself has not, and the last good addresses are
used while the name server is slow or silent.
"""

import asyncio
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any, Final, NamedTuple

from sessions_kms.concurrency.deadline import Attempt, OutOfTime
from sessions_kms.concurrency.threads import BoundedPool, Refused

HOSTS_MAX: Final = 64  # hosts whose last good addresses are cached
REFRESH_WAIT: Final = 0.25  # seconds to wait for new addresses while others are cached
FRESH: Final = 5.0  # seconds without another lookup in event loops: the TTL of DynamoDB's names

Address = tuple[socket.AddressFamily, Any]  # the address as `socket.connect` takes it
Lookup = Callable[[str, int], list[Address]]


class Origin(NamedTuple):
    """A scheme, a host (by name or address, IPv6 without brackets) and a port."""

    host: str
    port: int
    tls: bool = True

    @property
    def authority(self) -> str:
        """The `Host` header: with the port, unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, for messages."""
        return f"{'https' if self.tls else 'http'}://{self.authority}/"


@cache
def tls_context(authorities: str) -> ssl.SSLContext:
    """Return the context that trusts the certificate authorities in a file, as boto does.

    Contexts are cached: reading a file takes longer than a hundred calls. Raises OSError.
    """
    return ssl.create_default_context(cafile=authorities)


class _Cached(NamedTuple):
    addresses: list[Address]
    at: float


class Resolver:
    """Resolves names in a bounded number of threads."""

    def __init__(
        self,
        lookup: Lookup,
        lookups: BoundedPool[list[Address]] | None = None,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._lookup = lookup
        self._lookups = lookups or BoundedPool()
        self._steady = steady
        self._cached: OrderedDict[tuple[str, int], _Cached] = OrderedDict()

    def resolve(self, host: str, port: int, within: float) -> list[Address]:
        """Return the addresses of a host within some seconds.

        Raises OSError: OutOfTime, or for an unknown name or too many lookups.
        """
        if (literal := _literal(host, port)) is not None:
            return literal
        cached = self._cached.get((host, port))
        wait = within if cached is None else min(within, REFRESH_WAIT)
        try:
            return self._lookups.wait((host, port), lambda: self._look_up(host, port), wait)
        except (OSError, RuntimeError) as exc:
            return _cached_or_raise(cached, exc)

    async def resolve_async(self, host: str, port: int, within: float) -> list[Address]:
        """Do the same without blocking the event loop, and with fewer lookups."""
        if (literal := _literal(host, port)) is not None:
            return literal
        cached = self._cached.get((host, port))
        if cached is not None and self._steady() - cached.at < FRESH:
            return cached.addresses
        wait = within if cached is None else min(within, REFRESH_WAIT)
        try:
            future = self._lookups.begin((host, port), lambda: self._look_up(host, port))
            async with asyncio.timeout(wait):
                return await asyncio.wrap_future(future)
        except (OSError, RuntimeError) as exc:
            return _cached_or_raise(cached, exc)

    def _look_up(self, host: str, port: int) -> list[Address]:
        found = self._lookup(host, port)
        self._cached[host, port] = _Cached(found, self._steady())
        self._cached.move_to_end((host, port))
        while len(self._cached) > HOSTS_MAX:
            self._cached.popitem(last=False)
        return found


def _cached_or_raise(cached: _Cached | None, exc: Exception) -> list[Address]:
    """Return the last good addresses, or raise the error of the lookup."""
    if cached is not None:
        return cached.addresses
    if isinstance(exc, Refused | RuntimeError):
        raise socket.gaierror(socket.EAI_AGAIN, "Too many name lookups.") from exc
    raise exc


def _literal(host: str, port: int) -> list[Address] | None:
    """Return the address if the host is an IP address; None if it is a name."""
    try:
        return _getaddrinfo(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None


def _getaddrinfo(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, flags)
    return [(family, address) for family, _, _, _, address in found]


def connect(
    addresses: list[Address], left: Callable[[], float], create: Callable[[int], socket.socket]
) -> socket.socket:
    """Return a socket that is connected to the first address that accepts.

    Each address gets an equal share of the time ``left``. Raises OSError.
    """
    failure: OSError = OutOfTime()
    for number, (family, address) in enumerate(addresses):
        created = create(family)
        try:
            created.settimeout(left() / (len(addresses) - number))
            created.connect(address)
        except OSError as exc:
            created.close()
            failure = exc
        except BaseException:
            created.close()
            raise
        else:
            return created
    raise failure


async def connect_async(addresses: list[Address], attempt: Attempt) -> socket.socket:
    """Do the same in an event loop."""
    failure: OSError = OutOfTime()
    for number, (family, address) in enumerate(addresses):
        created = socket.socket(family, socket.SOCK_STREAM)
        try:
            created.setblocking(False)
            async with asyncio.timeout(attempt.to_connect() / (len(addresses) - number)):
                await asyncio.get_running_loop().sock_connect(created, address)
        except OSError as exc:
            created.close()
            failure = exc
        except BaseException:
            created.close()
            raise
        else:
            return created
    raise failure


resolver = Resolver(_getaddrinfo)


def reset() -> None:
    """Create a new resolver: a forked child has none of the threads."""
    global resolver  # noqa: PLW0603 - one per process
    resolver = Resolver(_getaddrinfo)


os.register_at_fork(after_in_child=reset)
